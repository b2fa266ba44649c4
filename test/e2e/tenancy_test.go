//go:build e2e

package e2e_test

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/editor/auth"
)

// issuer and audience are what the application's tokens say.
const (
	issuer   = "https://application.test"
	audience = "documents"
)

// application is what the service serves: it knows the users and what they may do, publishes the keys of some of their
// tokens, and is told of changes.
type application struct {
	secret []byte
	url    string
	key    ed25519.PrivateKey

	mu      sync.Mutex
	changed map[string]int64
	// may is what users may do who may not do all that their tokens say.
	may    map[string]string
	forged int
}

// startApplication serves webhooks at the address that pods reach this machine by.
func startApplication(t *testing.T) *application {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	a := &application{
		secret: []byte("a secret that nobody else has, of enough bytes"), key: key,
		changed: map[string]int64{}, may: map[string]string{},
	}
	var apiServer discoveryv1.EndpointSlice
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "kubernetes"}, &apiServer); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", apiServer.Endpoints[0].Addresses[0]+":0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: a, ReadHeaderTimeout: time.Minute}
	var wait sync.WaitGroup
	wait.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { _ = server.Close(); wait.Wait() })
	a.url = "http://" + listener.Addr().String()
	return a
}

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/keys" {
		public, _ := a.key.Public().(ed25519.PublicKey)
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]string{
			"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": "e2e", "x": base64.RawURLEncoding.EncodeToString(public),
		}}})
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	a.mu.Lock()
	defer a.mu.Unlock()
	var told struct {
		Document string
		Seq      int64
		// User and Granted are asked about.
		User, Granted string
	}
	switch {
	case err != nil, !auth.VerifySignature(a.secret, r.Header.Get(auth.SignatureHeader), body, time.Now(), time.Minute):
		a.forged++
		w.WriteHeader(http.StatusForbidden)
	case json.Unmarshal(body, &told) != nil:
		w.WriteHeader(http.StatusBadRequest)
	case r.URL.Path == "/may":
		_ = json.NewEncoder(w).Encode(map[string]string{"access": cmp.Or(a.may[told.User], told.Granted)})
	default:
		a.changed[told.Document] = max(a.changed[told.Document], told.Seq)
		w.WriteHeader(http.StatusNoContent)
	}
}

// allow lets a user do that much.
func (a *application) allow(user, access string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.may[user] = access
}

// token is a user's, signed with the secret.
func (a *application) token(t *testing.T, user string, docs map[string]string, admin bool) string {
	t.Helper()
	return signed(t, `{"alg":"HS256","typ":"JWT"}`, map[string]any{"sub": user, "docs": docs, "collab_admin": admin},
		func(text []byte) []byte {
			mac := hmac.New(sha256.New, a.secret)
			mac.Write(text)
			return mac.Sum(nil)
		})
}

// login is a token of a user of the organization acme, signed with the published key. What the user may do the
// application has to be asked.
func (a *application) login(t *testing.T, user string) string {
	t.Helper()
	return signed(t, `{"alg":"EdDSA","typ":"JWT","kid":"e2e"}`, map[string]any{"sub": user, "org": "acme"},
		func(text []byte) []byte { return ed25519.Sign(a.key, text) })
}

func signed(t *testing.T, header string, claims map[string]any, sign func([]byte) []byte) string {
	t.Helper()
	now := time.Now()
	claims["iss"], claims["aud"], claims["iat"], claims["exp"] = issuer, audience, now.Unix(), now.Add(time.Hour).Unix()
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(header)) + "." + encode(body)
	return text + "." + encode(sign([]byte(text)))
}

// user asks the service over HTTP.
type user struct{ host, token string }

// do returns the answer's body, and fails unless it has the status.
func (u user) do(t *testing.T, status int, method, path, body string) string {
	t.Helper()
	got, answer, err := u.try(t, method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	if got != status {
		t.Fatalf("%s %s: status %d instead of %d: %s", method, path, got, status, answer)
	}
	return answer
}

func (u user) try(t *testing.T, method, path, body string) (status int, answer string, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+u.host+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	if strings.HasPrefix(body, "{") {
		request.Header.Set("Content-Type", "application/json")
	}
	if u.token != "" {
		request.Header.Set("Authorization", "Bearer "+u.token)
	}
	response, err := (&http.Client{Timeout: time.Minute}).Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	read, err := io.ReadAll(response.Body)
	return response.StatusCode, string(read), err
}

// rollOut changes the CollabCluster and waits until all editor pods are of the change, which one of their arguments
// shows.
func rollOut(t *testing.T, argument string, change func(*v1alpha1.CollabCluster)) []corev1.Pod {
	t.Helper()
	await(t, time.Minute, func() error {
		found := cluster(t)
		change(found)
		return api.Update(t.Context(), found)
	})
	var ready []corev1.Pod
	await(t, 5*time.Minute, func() error {
		var pods corev1.PodList
		if err := api.List(t.Context(), &pods, client.InNamespace(namespace), client.MatchingLabels{
			"app.kubernetes.io/instance": clusterName, "app.kubernetes.io/component": "editor",
		}); err != nil {
			return err
		}
		for _, pod := range pods.Items {
			if !slices.ContainsFunc(pod.Spec.Containers[0].Args, func(a string) bool { return strings.HasPrefix(a, argument) }) {
				return fmt.Errorf("the pod %s is of the former template", pod.Name)
			}
		}
		if ready = editors(t); len(ready) < minReplicas {
			return fmt.Errorf("%d of %d editor pods are ready", len(ready), minReplicas)
		}
		return nil
	})
	if err := awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return ready
}

// TestAnApplicationSaysWhoMayDoWhatAndIsToldOfChanges turns authentication and webhooks on while the cluster runs, and
// uses every way into a document: y-websocket, Hocuspocus and REST, each at another pod.
func TestAnApplicationSaysWhoMayDoWhatAndIsToldOfChanges(t *testing.T) {
	const (
		secretName = "application"
		document   = "acme/plan"
		path       = "/api/v1/documents/" + document
	)
	app := startApplication(t)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: secretName, Namespace: namespace},
		StringData: map[string]string{"jwt-secret": string(app.secret), "webhook-secret": string(app.secret)},
	}
	if err := api.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // When the test's context has ended.
		if err := api.Delete(context.Background(), secret); err != nil {
			t.Error(err)
		}
	})
	pods := rollOut(t, "--webhook-url", func(c *v1alpha1.CollabCluster) {
		second := int32(1)
		c.Spec.Editor.Auth = &v1alpha1.AuthSpec{
			SecretName: secretName, JWKSURL: app.url + "/keys", Issuer: issuer, Audience: audience,
			PermissionWebhook: &v1alpha1.PermissionWebhookSpec{URL: app.url + "/may", CacheSeconds: &second},
		}
		c.Spec.Editor.Webhook = &v1alpha1.WebhookSpec{URL: app.url + "/changed"}
	})
	writing, reading := map[string]string{"acme/*": "write"}, map[string]string{"acme/*": "read"}
	writer := user{serviceHost(t, clusterName+"-editor", 80), app.token(t, "ada", writing, false)}
	reader := user{writer.host, app.token(t, "bob", reading, false)}

	user{host: writer.host}.do(t, http.StatusUnauthorized, "GET", path, "")
	writer.do(t, http.StatusCreated, "POST", "/api/v1/documents", `{"name":"`+document+`","title":"The plan"}`)
	writer.do(t, http.StatusForbidden, "POST", "/api/v1/documents", `{"name":"other/plan"}`)
	writer.do(t, http.StatusNoContent, "PUT", path+"/content/text?root=content", "rest-0;")
	reader.do(t, http.StatusForbidden, "PUT", path+"/content/text?root=content", "forbidden;")

	c := startClients(t)
	address := func(pod int, path string) string { return "ws://" + podHost(pods[pod%len(pods)]) + path }
	c.beginAt(t, "y-websocket", address(0, "/collab"), document, app.token(t, "cyd", writing, false))
	c.beginAt(t, "hocuspocus", address(1, "/hocuspocus"), document, app.token(t, "dan", writing, false))
	c.beginAt(t, "reader", address(2, "/collab"), document, reader.token)
	for _, name := range []string{"y-websocket", "hocuspocus", "reader"} {
		c.awaitSynced(t, name)
	}
	c.beginAt(t, "stranger", address(0, "/collab"), document, "no.token.atall")
	c.awaitClosed(t, "stranger", 4401)

	want := tokens{"rest": 1, "a": 10, "b": 10}
	c.typeTokens(t, "y-websocket", "a", 10, 10*time.Millisecond)
	c.typeTokens(t, "hocuspocus", "b", 10, 10*time.Millisecond)
	c.typed(t, "y-websocket")
	c.typed(t, "hocuspocus")
	same := func(want tokens) {
		t.Helper()
		await(t, time.Minute, func() error {
			text, err := c.text("reader")
			if err != nil {
				return err
			}
			for _, name := range []string{"y-websocket", "hocuspocus"} {
				other, err := c.text(name)
				if err == nil && other != text {
					err = fmt.Errorf("%s has %q and the reader %q", name, other, text)
				}
				if err != nil {
					return err
				}
			}
			status, shown, err := reader.try(t, "GET", path+"/content?format=text", "")
			if err == nil && shown != text {
				err = fmt.Errorf("status %d: %q, and the clients have %q", status, shown, text)
			}
			return errors.Join(err, want.check(text))
		})
	}
	same(want)

	// The history, and back: everybody sees it, and what was since is still in the history.
	var named struct{ Seq int64 }
	await(t, time.Minute, func() error {
		status, answer, err := writer.try(t, "POST", path+"/versions", `{"name":"before"}`)
		if err == nil && status != http.StatusCreated {
			err = fmt.Errorf("status %d: %s", status, answer)
		}
		if err == nil {
			err = json.Unmarshal([]byte(answer), &named)
		}
		if err == nil && named.Seq < 21 {
			err = fmt.Errorf("operation %d is the last one in the database", named.Seq)
		}
		return err
	})
	writer.do(t, http.StatusNoContent, "PUT", path+"/content/text", "rest-0;")
	same(tokens{"rest": 1})
	writer.do(t, http.StatusNoContent, "POST", fmt.Sprintf("%s/versions/%d/restore", path, named.Seq), "")
	same(want)

	await(t, time.Minute, func() error {
		app.mu.Lock()
		defer app.mu.Unlock()
		if app.changed[document] < named.Seq+2 || app.forged > 0 {
			return fmt.Errorf("the application knows of operation %d of %d; %d requests were not signed",
				app.changed[document], named.Seq+2, app.forged)
		}
		return nil
	})

	export := reader.do(t, http.StatusOK, "GET", "/api/v1/organizations/acme/export", "")
	if !strings.Contains(export, `"title":"The plan"`) || !strings.Contains(export, `{"end":{"documents":1,"failed":0}}`) {
		t.Errorf("exported %s", export)
	}
	imported := writer.do(t, http.StatusOK, "POST", "/api/v1/organizations/acme/import", export)
	if !strings.Contains(imported, `{"end":{"documents":1,"failed":0}}`) {
		t.Errorf("importing it again did %s", imported)
	}
	same(want)

	eve := user{writer.host, app.login(t, "eve")}
	app.allow("eve", "none")
	eve.do(t, http.StatusForbidden, "GET", path, "")
	app.allow("eve", "write") // It has changed its mind.
	await(t, 10*time.Second, func() error {
		status, answer, err := eve.try(t, "GET", path, "")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d: %s", status, answer)
		}
		return err
	})
	awaitTheft(t, c, address(1, "/collab"), document, eve)

	// A user who is revoked at one pod is let go by another one.
	admin := user{writer.host, app.token(t, "root", nil, true)}
	writer.do(t, http.StatusForbidden, "POST", "/auth/revoke", `{"user":"cyd"}`)
	begin := time.Now()
	admin.do(t, http.StatusNoContent, "POST", "/auth/revoke", `{"user":"cyd"}`)
	c.awaitClosed(t, "y-websocket", 4401)
	t.Logf("the revoked user's connection was closed within %s", time.Since(begin).Round(time.Millisecond))

	writer.do(t, http.StatusNoContent, "DELETE", path, "")
	c.awaitClosed(t, "reader", 4404)
	reader.do(t, http.StatusGone, "GET", path+"/content", "")
}

// awaitTheft begins a session, at any pod each time, and a client in it; and uses a token of it that was replaced, as only a
// thief would, which ends both.
func awaitTheft(t *testing.T, c *clients, address, document string, who user) {
	t.Helper()
	var session struct{ AccessToken, RefreshToken string }
	ask := func(path, body string) (before string) {
		t.Helper()
		before = session.RefreshToken
		if err := json.Unmarshal([]byte(who.do(t, http.StatusOK, "POST", path, body)), &session); err != nil {
			t.Fatal(err)
		}
		return before
	}
	refresh := func(token string) string { return `{"refreshToken":"` + token + `"}` }
	ask("/auth/login", `{"tokens":true}`)
	c.beginAt(t, "session", address, document, session.AccessToken)
	c.awaitSynced(t, "session")
	stolen := ask("/auth/refresh", refresh(session.RefreshToken))
	ask("/auth/refresh", refresh(session.RefreshToken))
	who.do(t, http.StatusUnauthorized, "POST", "/auth/refresh", refresh(stolen))
	c.awaitClosed(t, "session", 4401)
	who.do(t, http.StatusUnauthorized, "POST", "/auth/refresh", refresh(session.RefreshToken))
}

// awaitClosed waits until the server has closed the client's connection with the code.
func (c *clients) awaitClosed(t *testing.T, client string, code int) {
	t.Helper()
	await(t, 20*time.Second, func() error {
		var state struct{ Codes []int }
		err := c.call(answerTimeout, request{"op": "state", "client": client}, &state)
		if err == nil && !slices.Contains(state.Codes, code) {
			err = fmt.Errorf("the client %s was closed with %v, not with %d", client, state.Codes, code)
		}
		return err
	})
}
