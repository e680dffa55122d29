package oauth

// Base URLs, to which secrets are sent.

import (
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// hostName does not bound lengths: at every cold start, {0,61} would be compiled into 61 copies
// of the repeated part.
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)

// ParseBaseURL returns the URL s, and whether it consists of the scheme http or https, a host
// and optionally a port. If ok is false, u may be nil.
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

// Confidential reports whether requests to u cannot be read on the network. The scheme must be
// https, or http for a host that is this machine: loopback, localhost, host.docker.internal.
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
