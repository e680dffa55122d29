// Package secretscan finds secrets in what must not hold any, whatever they were encoded as.
package secretscan

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Find names the secrets that text shows in any form, in whole or by half: the
// beginning of a secret that was cut off is a leak as well.
func Find(text string, secrets ...string) (found []string) {
	for _, secret := range secrets {
		runes := []rune(secret)
		halves := []string{string(runes[:len(runes)/2]), string(runes[len(runes)/2:])}
		if slices.ContainsFunc(halves, func(half string) bool {
			return slices.ContainsFunc(forms(half), func(form string) bool { return strings.Contains(text, form) })
		}) {
			found = append(found, secret)
		}
	}
	return found
}

// forms are the strings of which text holds one if it holds s in some encoding.
func forms(s string) []string {
	inner := func(quoted string) string { return quoted[1 : len(quoted)-1] }
	inJSON := func(s string, escapeHTML bool) string {
		var out bytes.Buffer
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(escapeHTML)
		if err := encoder.Encode(s); err != nil {
			panic(err) // of a string: cannot be
		}
		return inner(strings.TrimSpace(out.String()))
	}
	out := []string{
		s,
		inner(strconv.Quote(s)), inner(strconv.QuoteToASCII(s)),
		url.QueryEscape(s), url.PathEscape(s), (&url.URL{Path: "/" + s}).EscapedPath()[1:], html.EscapeString(s),
		hex.EncodeToString([]byte(s)), strings.ToUpper(hex.EncodeToString([]byte(s))),
		strings.Trim(fmt.Sprint([]byte(s)), "[]"),
	}
	for _, once := range []string{inJSON(s, true), inJSON(s, false)} {
		out = append(out, once, inJSON(once, true), inJSON(once, false))
	}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 { // whatever stands before s, and whatever follows
			whole := encoding.EncodeToString([]byte("\x00\x00"[:before] + s))
			own := whole[(before*8+5)/6 : (before+len(s))*8/6]
			out = append(out, own, url.QueryEscape(own), inJSON(own, true))
		}
	}
	return out
}
