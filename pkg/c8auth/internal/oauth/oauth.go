// Package oauth is shared by the HTTP clients of Communic8 and of the API. It checks the syntax
// of bearer tokens and base URLs, reads Retry-After, and describes failed exchanges without
// anything that the other side sent. Its functions may be called concurrently.
package oauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// maxRetryAfter bounds a Retry-After, so that sums of times do not overflow.
const maxRetryAfter = 24 * time.Hour

// ValidBearer reports whether s can follow "Authorization: Bearer" (RFC 6749,
// appendix A.12).
func ValidBearer(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x21 || r > 0x7e })
}

// RetryAfter returns the delay of the header Retry-After, which is a number of seconds or a date
// (RFC 9110, section 10.2.3): a day at most, and 0 if the header is missing or malformed.
func RetryAfter(header http.Header, now time.Time) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil || errors.Is(err, strconv.ErrRange) {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter) // out of range, seconds is the largest number
	}
	if date, err := http.ParseTime(value); err == nil {
		return min(max(0, date.Sub(now)), maxRetryAfter)
	}
	return 0
}

// Printable returns s cut to limit characters, which must be at least 1, and with the Unicode
// replacement character for each character that is not printable.
func Printable(s string, limit int) string {
	text := []rune(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s))
	if len(text) > limit {
		text = append(text[:limit-1], '…')
	}
	return string(text)
}

// maxHost is how much of a proxy's host is shown, in characters.
const maxHost = 200

// DescribeError describes a failed HTTP exchange, to follow the name of the other
// side: "did not answer in time". The words depend on the type of err, or on the error
// number of the operating system. Its text is never shown, because net/http, crypto/tls
// and crypto/x509 quote what the other side sent: names in certificates, status lines,
// headers.
//
// If err is of an [http.Client] and the environment names a proxy for its URL, the
// description has the proxy's address, without its user and password.
func DescribeError(err error) string {
	if failed, ok := errors.AsType[*url.Error](err); ok {
		if u, malformed := url.Parse(failed.URL); malformed == nil {
			return DescribeVia(http.ProxyFromEnvironment, &http.Request{URL: u}, failed.Err)
		}
	}
	return describe(err)
}

// DescribeVia is [DescribeError] for a request that was sent by a transport with this
// [http.Transport.Proxy]; err is the transport's.
func DescribeVia(proxyOf func(*http.Request) (*url.URL, error), req *http.Request, err error) string {
	if proxyOf == nil {
		return describe(err)
	}
	proxy, malformed := proxyOf(req)
	switch {
	case malformed != nil:
		return "cannot be reached: the proxy's address is malformed; see HTTPS_PROXY"
	case proxy == nil:
		return describe(err)
	}
	text := describe(err)
	// The error of net/http for any answer to CONNECT but 200 is the reason after the status,
	// which some proxies make longer.
	if strings.HasPrefix(err.Error(), http.StatusText(http.StatusProxyAuthRequired)) {
		text = "cannot be reached: the proxy wants a user and a password (HTTP 407), or does not accept those that HTTPS_PROXY holds"
	}
	return text + "; the proxy is " + proxy.Scheme + "://" + Printable(proxy.Host, maxHost)
}

// describe is DescribeError without a proxy.
func describe(err error) string {
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		if name.IsNotFound {
			return "cannot be reached: there is no host of that name"
		}
		return "cannot be reached: its name cannot be resolved now"
	}
	timeout, isNet := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, context.Canceled):
		return "was not waited for: the request was cancelled"
	case errors.Is(err, context.DeadlineExceeded), isNet && timeout.Timeout():
		return "did not answer in time"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "cannot be reached: the connection is refused"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "cannot be reached: there is no route to it"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return "broke the connection off"
	}
	if text := describeTLS(err); text != "" {
		return text
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return "cannot be reached: " + errno.Error() // the operating system's words
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return "cannot be reached"
	}
	return "broke the connection off, or did not speak HTTP"
}

// describeTLS describes a failed TLS handshake; it returns "" for any other error.
func describeTLS(err error) string {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return "shows a certificate that has expired or is not valid yet; or the clock of this machine is wrong"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "shows a certificate for another name"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "shows a certificate of an unknown authority"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "shows a certificate that is not valid"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, http.ErrSchemeMismatch) {
		return "does not speak TLS"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "remote error" || op.Op == "local error") {
		return "and this machine do not agree on TLS"
	}
	return ""
}
