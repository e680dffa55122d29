package oauth

// URLs that secrets are sent to.

import (
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// hostName does not bound lengths: a pattern with {0,61} is compiled into 61 copies of what it
// repeats, at every cold start.
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)

// ParseBaseURL returns the URL s if it has a scheme, http or https, a host, maybe a port, and
// nothing else.
func ParseBaseURL(s string) (u *url.URL, ok bool) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Scheme+"://"+u.Host != s {
		return nil, false
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, false
		}
	}
	host := u.Hostname()
	ip, err := netip.ParseAddr(host)
	return u, err == nil && ip.Zone() == "" || len(host) <= 253 && hostName.MatchString(host)
}

// Confidential reports whether nobody on the way to u can read what is sent: by https, or to
// this machine.
func Confidential(u *url.URL) bool {
	if u.Scheme == "https" {
		return true
	}
	host := u.Hostname()
	ip, err := netip.ParseAddr(host)
	return u.Scheme == "http" && (host == "localhost" || host == "host.docker.internal" || err == nil && ip.Unmap().IsLoopback())
}

// ValidBaseURL reports whether s is a base URL that secrets may be sent to.
func ValidBaseURL(s string) bool {
	u, ok := ParseBaseURL(s)
	return ok && Confidential(u)
}
