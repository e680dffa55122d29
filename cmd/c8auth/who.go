package main

// c8auth who: which callers fetched which version of a token.

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (p *program) whoCommand() *cobra.Command {
	var version string
	var since time.Duration
	command := p.tenantCommand(&cobra.Command{
		Use:   "who TENANT",
		Short: "Show which callers were given a tenant's token",
		Long: `Who shows, from the log of vend, which callers were given which version of a tenant's token,
how often, when, and from which addresses: a line for each caller and version, the latest
first. It shows no token.

Whoever reads the secret <stack>/token/TENANT itself is not in that log, but in CloudTrail.

It needs logs:FilterLogEvents on vend's log and secretsmanager:DescribeSecret, and no more
than AWS's policy ReadOnlyAccess. The log goes back as far as its retention.`,
		Example: `  c8auth who default
  c8auth who default --since 72h --version 306a4d88-cec6-8b9b-b6b8-5825ad19c40b
  c8auth who default --json | jq -r '.callers[].caller' | sort -u`,
	}, func(ctx context.Context, tenant string) error {
		switch {
		case since < time.Second:
			return fail(statusUsage, "--since 24h", "--since must be a second at least")
		case version != "" && !versionID.MatchString(version):
			return fail(statusUsage, "`c8auth who "+tenant+"` shows which there are", "--version must be that of a token")
		}
		d, err := p.deployment(ctx)
		if err == nil {
			err = d.known(ctx, tenant)
		}
		if err != nil {
			return err
		}
		w, err := d.who(ctx, tenant, version, since)
		if err != nil {
			return err
		}
		if p.json {
			return p.stdout.json(w)
		}
		w.print(p.stdout)
		return nil
	})
	command.Flags().StringVar(&version, "version", "", "only this version of the token")
	command.Flags().DurationVar(&since, "since", 24*time.Hour, "how far to go back")
	return command
}

// versionID is the syntax of the versions that rotate writes.
var versionID = regexp.MustCompile(`^[0-9a-f-]{32,64}$`)

// vends is the output of c8auth who --json: all vends of one tenant's token.
type vends struct {
	Tenant  string    `json:"tenant"`
	Since   time.Time `json:"since"`
	Stored  string    `json:"stored_version,omitempty"` // of the token that is stored now
	Callers []vended  `json:"callers"`
}

// vended is the vends of one version to one caller.
type vended struct {
	Caller  string    `json:"caller"` // ARN
	Version string    `json:"version"`
	Count   int       `json:"count"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	Sources []string  `json:"sources"` // IP addresses, in the order in which they appeared
}

// maxSources bounds the addresses of one caller and version; "…" stands for more.
const maxSources = 20

// who counts vends from the log of vend. CloudWatch filters the lines, so that only the counted
// ones are downloaded.
func (d *deployment) who(ctx context.Context, tenant, version string, since time.Duration) (*vends, error) {
	w := &vends{Tenant: tenant, Since: time.Now().Add(-since).UTC().Truncate(time.Second), Callers: []vended{}}
	token, err := d.secret(ctx, "token", tenant)
	if err == nil { // otherwise no version is marked as stored
		w.Stored = token.version
	}
	pattern := `{ ($.message = "vend") && ($.status = 200) && ($.tenant = "` + tenant + `")`
	if version != "" {
		pattern += ` && ($.version = "` + version + `")`
	}
	index := make(map[[2]string]int)
	err = d.readLog(ctx, "vend", pattern+" }", w.Since, func(at time.Time, message []byte) {
		var line struct{ Caller, Version, Source string }
		if json.Unmarshal(message, &line) != nil {
			return
		}
		at = at.Truncate(time.Second)
		key := [2]string{line.Caller, line.Version}
		i, seen := index[key]
		if !seen {
			i = len(w.Callers)
			index[key] = i
			w.Callers = append(w.Callers, vended{Caller: line.Caller, Version: line.Version, First: at})
		}
		v := &w.Callers[i]
		v.Count++
		if at.Before(v.First) {
			v.First = at
		}
		if at.After(v.Last) {
			v.Last = at
		}
		switch {
		case slices.Contains(v.Sources, line.Source) || len(v.Sources) > maxSources:
		case len(v.Sources) == maxSources:
			v.Sources = append(v.Sources, "…")
		default:
			v.Sources = append(v.Sources, line.Source)
		}
	})
	slices.SortFunc(w.Callers, func(a, b vended) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Caller, b.Caller), cmp.Compare(a.Version, b.Version))
	})
	return w, err
}

func (w *vends) print(out *printer) {
	const format = "2006-01-02 15:04:05"
	total, callers := 0, make(map[string]bool)
	var rows []row
	for _, v := range w.Callers {
		total += v.Count
		callers[v.Caller] = true
		version := v.Version
		if version == w.Stored {
			version += " (stored)"
		}
		rows = append(rows, row{"", []string{v.Caller, version, fmt.Sprint(v.Count), v.First.Format(format), v.Last.Format(format), strings.Join(v.Sources, ", ")}})
	}
	out.line("", "", 0, "The token of %s was vended %d times to %d callers since %s UTC.", w.Tenant, total, len(callers), w.Since.Format(format))
	if len(rows) > 0 {
		out.table([]string{"CALLER", "VERSION", "VENDS", "FIRST", "LAST (UTC)", "FROM"}, rows)
	}
}
