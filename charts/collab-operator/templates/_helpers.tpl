{{- define "collab-operator.selector" -}}
app.kubernetes.io/name: collab-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "collab-operator.labels" -}}
{{ include "collab-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
