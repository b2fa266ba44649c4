package auth

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// origins are the web pages that may talk to this service with their users' cookies.
type origins struct {
	exact    map[string]struct{}
	suffixes []origin // https://*.example.com
	local    bool     // pages of this machine may use a service that is reached as this machine
	csrf     *http.CrossOriginProtection
}

// origin is a pattern: hosts that end in suffix, which begins with a dot.
type origin struct{ scheme, suffix, port string }

// parseOrigins reads exact origins (https://app.example.com) and patterns of subdomains (https://*.example.com).
func parseOrigins(texts []string) (*origins, error) {
	o := &origins{exact: map[string]struct{}{}, csrf: http.NewCrossOriginProtection()}
	for _, text := range texts {
		parsed, err := splitOrigin(text)
		suffix, wild := "", false
		if err == nil {
			suffix, wild = strings.CutPrefix(parsed.Hostname(), "*.")
		}
		switch {
		case err != nil:
			return nil, err
		case wild && strings.Contains(suffix, ".") && !strings.Contains(suffix, "*"):
			o.suffixes = append(o.suffixes, origin{parsed.Scheme, "." + suffix, parsed.Port()})
		case strings.Contains(text, "*"):
			return nil, fmt.Errorf("origin %q: a * may stand for a subdomain only, as in https://*.example.com", text)
		default:
			o.exact[parsed.Scheme+"://"+parsed.Host] = struct{}{}
		}
	}
	return o, nil
}

// splitOrigin reads an origin as browsers write it, without a default port, in lower case.
func splitOrigin(text string) (*url.URL, error) {
	parsed, err := url.Parse(strings.ToLower(text))
	if err != nil || parsed.Scheme != "https" && parsed.Scheme != "http" || parsed.Hostname() == "" ||
		parsed.Scheme+"://"+parsed.Host != strings.ToLower(text) || parsed.User != nil {
		return nil, fmt.Errorf("origin %q must be like https://app.example.com: scheme, host and, if it needs one, port", text)
	}
	if parsed.Scheme == "https" && parsed.Port() == "443" || parsed.Scheme == "http" && parsed.Port() == "80" {
		parsed.Host = strings.TrimSuffix(parsed.Host, ":"+parsed.Port())
	}
	return parsed, nil
}

// listed says whether the request names an origin that is one of those that are configured.
func (o *origins) listed(r *http.Request) bool {
	parsed, err := splitOrigin(r.Header.Get("Origin"))
	if err != nil {
		return false
	}
	if host := (&url.URL{Host: r.Host}).Hostname(); o.local && loopback(parsed.Hostname()) && loopback(host) {
		return true
	}
	if _, found := o.exact[parsed.Scheme+"://"+parsed.Host]; found {
		return true
	}
	for _, s := range o.suffixes {
		if parsed.Scheme == s.scheme && parsed.Port() == s.port && strings.HasSuffix(parsed.Hostname(), s.suffix) &&
			len(parsed.Hostname()) > len(s.suffix) {
			return true
		}
	}
	return false
}

// loopback says whether a host is this machine.
func loopback(host string) bool { return host == "localhost" || net.ParseIP(host).IsLoopback() }

// allow says whether a request comes from a page of this very host, from one that is configured, or from no browser:
// browsers always name the origin of a WebSocket.
func (o *origins) allow(r *http.Request) bool {
	named := r.Header.Values("Origin")
	if len(named) == 0 {
		return true
	}
	if len(named) > 1 {
		return false
	}
	parsed, err := splitOrigin(named[0])
	if err != nil {
		return false // Also "null": a page that hides where it comes from.
	}
	host := strings.ToLower(r.Host)
	if r.TLS != nil && parsed.Scheme != "https" {
		return o.listed(r)
	}
	return parsed.Host == host || parsed.Host+defaultPort(parsed.Scheme) == host || o.listed(r)
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return ":443"
	}
	return ":80"
}

// forged says whether a request that changes something comes from a foreign page.
func (o *origins) forged(r *http.Request) bool { return !o.listed(r) && o.csrf.Check(r) != nil }
