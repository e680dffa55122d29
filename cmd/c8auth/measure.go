package main

// What Communic8 does not document, measured.

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

// measurement is what was found out. It holds no secret.
type measurement struct {
	At       time.Time `json:"at"`
	BaseURL  string    `json:"base_url"`
	Method   string    `json:"method"`
	Findings []finding `json:"findings"`
}

type finding struct {
	Question string `json:"question"`
	Answer   string `json:"answer"`
}

func (m *measurement) note(question, format string, args ...any) {
	m.Findings = append(m.Findings, finding{question, fmt.Sprintf(format, args...)})
}

// String is the report.
func (m *measurement) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "Communic8 at %s, measured at %s. Without secrets.\n", m.BaseURL, m.At.Format(time.RFC3339))
	for _, f := range m.Findings {
		fmt.Fprintf(&out, "\n%s\n  %s\n", f.Question, f.Answer)
	}
	return out.String()
}

// measure has tokens made. From the first of them on, whatever happens, rotate looks
// after the tenant in the end.
func (doc *doctor) measure(ctx context.Context) (m *measurement, err error) {
	switch {
	case doc.deployment == nil:
		return nil, fail(0, "", "to measure, I must see the stack")
	case doc.patient.Stored.IsZero():
		return nil, fail(statusAttention, "c8auth credentials set "+doc.patient.Name, "there are no credentials to measure with")
	case !doc.patient.IssuedAt.IsZero() && time.Since(doc.patient.IssuedAt) < young:
		return nil, fail(statusAgain, "try again in a minute", "the token is too young: if it died of this, rotate could refuse to replace it so soon")
	}
	credentials, err := doc.readCredentials(ctx, doc.patient.Name)
	if err != nil {
		return nil, err
	}
	client, seen := watched()
	run := &measuring{
		measurement: measurement{At: time.Now().UTC(), BaseURL: credentials.BaseURL, Method: methodOAuth},
		endpoint:    &c8auth.Endpoint{Client: client, ProbePath: doc.parameters["ProbePath"]},
		seen:        seen,
		secrets:     []string{credentials.ClientID, credentials.ClientSecret.Reveal(), credentials.AccessKey.Reveal(), doc.vended.AccessToken.Reveal()},
	}
	if credentials.AccessKey.Reveal() != "" {
		run.Method = methodKey
		run.note("How does it grant a token?", "An access key is one itself: there is none to be made")
	} else {
		err = run.tokens(ctx, credentials, doc.vended)
		// Callers have a living token again, also after Ctrl-C.
		result, failed := doc.deployment.rotate(context.WithoutCancel(ctx), doc.patient.Name, true)
		if failed != nil {
			return nil, failed
		}
		if err != nil {
			return nil, err
		}
		run.note("And the tenant's token?", "rotate has looked after it: %s", result.Outcome)
		run.refusal(ctx, credentials)
	}
	run.rejection(ctx, credentials.BaseURL)
	if ahead, ok := seen.saw().ahead(); ok {
		run.note("What time is it there?", "%s", apart(ahead))
	}
	run.scrub()
	return &run.measurement, ctx.Err()
}

// young is the age up to which rotate does not replace a token at an operator's wish.
const young = time.Minute + 5*time.Second

// readCredentials reads the tenant's, by the operator's own rights.
func (d *deployment) readCredentials(ctx context.Context, tenant string) (c c8auth.Credentials, _ error) {
	name := d.name + "/credentials/" + tenant
	out, err := secretsmanager.NewFromConfig(d.Config).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
	if err != nil {
		return c, awsFailure(err, d.Region, "secretsmanager:GetSecretValue", name)
	}
	c, err = c8auth.ParseCredentials([]byte(aws.ToString(out.SecretString)))
	if err != nil {
		return c, fail(statusAttention, "c8auth credentials set "+tenant, "%s: %w", name, err)
	}
	return c, nil
}

// measuring is a measurement under way, with what must not be in it.
type measuring struct {
	measurement
	endpoint *c8auth.Endpoint
	seen     *witness
	secrets  []string
}

// trial is what came of trying a token, with what the answer was like.
type trial struct {
	c8auth.Trial
	answer string
}

func (run *measuring) try(ctx context.Context, baseURL string, token c8auth.Secret) trial {
	result, detail := run.endpoint.Try(ctx, c8auth.Token{BaseURL: baseURL, AccessToken: token, TokenType: "Bearer"})
	if last := run.seen.saw(); last.status != 0 {
		detail = last.String()
	}
	return trial{result, detail}
}

// ask has a token made.
func (run *measuring) ask(ctx context.Context, c c8auth.Credentials) (c8auth.Grant, error) {
	grant, err := run.endpoint.Ask(ctx, c)
	if err != nil {
		return grant, fail(0, "what it says, and try again", "%w", err)
	}
	run.secrets = append(run.secrets, grant.AccessToken.Reveal())
	return grant, nil
}

// tokens has two made, and looks what becomes of those before.
func (run *measuring) tokens(ctx context.Context, c c8auth.Credentials, used c8auth.Token) error {
	first, err := run.ask(ctx, c)
	if err != nil {
		return err
	}
	form := run.seen.saw().String()
	before := run.try(ctx, c.BaseURL, first.AccessToken)
	second, err := run.ask(ctx, c)
	if err != nil {
		return err
	}
	after := run.try(ctx, c.BaseURL, first.AccessToken)
	newest := run.try(ctx, c.BaseURL, second.AccessToken)

	run.note("How does it grant a token?", "%s. It lives %s", form, span(first.Lifetime))
	const again, ends = "Does asking twice give the same token?", "Does a new token end the life of the one before?"
	same := first.AccessToken.Reveal() == second.AccessToken.Reveal()
	if same {
		run.note(again, "Yes, while it lives; the second time it lives %s", span(second.Lifetime))
	} else {
		run.note(again, "No, each time another one")
	}
	switch {
	case same:
		run.note(ends, "There was no new one to see it by")
	case before.Trial != c8auth.TrialGood || newest.Trial != c8auth.TrialGood:
		run.note(ends, "It cannot be told: at the probe path, a new token gets %s", newest.answer)
	case after.Trial == c8auth.TrialGood:
		run.note(ends, "No, both live")
	default:
		run.note(ends, "Yes; the one before then gets %s", after.answer)
	}
	if used.BaseURL == c.BaseURL && !same {
		run.note("What does the token that was in use get now?", "%s", run.try(ctx, c.BaseURL, used.AccessToken).answer)
	}
	return nil
}

// refusal has wrong credentials refused, once: the right ID with a value that is made up.
func (run *measuring) refusal(ctx context.Context, c c8auth.Credentials) {
	c.ClientSecret = c8auth.NewSecret(rand.Text())
	_, err := run.endpoint.Ask(ctx, c)
	said := "nothing against them"
	if err != nil {
		said = err.Error()
	}
	run.note("How does it refuse wrong credentials?", "%s. c8auth reads it as: %s", run.seen.saw(), said)
}

// rejection has a token rejected that does not exist.
func (run *measuring) rejection(ctx context.Context, baseURL string) {
	made := run.try(ctx, baseURL, c8auth.NewSecret(strings.ToLower(rand.Text())))
	run.note("How does it reject a token that it never made?", "%s. c8auth reads it as: %s", made.answer, cmp.Or(string(made.Trial), "nothing, as it never tries one"))
}

// scrub takes out what must not be there, should an answer have had it where the names of
// its members are.
func (run *measuring) scrub() {
	for i := range run.Findings {
		for _, secret := range run.secrets {
			if len(secret) > 3 { // or it could be any word's part
				run.Findings[i].Answer = strings.ReplaceAll(run.Findings[i].Answer, secret, "[redacted]")
			}
		}
	}
}

// String is an answer's status, content type and shape.
func (a answer) String() string {
	kind, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil || !mediaType.MatchString(kind) {
		kind = "no content type"
	}
	return fmt.Sprintf("HTTP %d, %s, %s", a.status, kind, shapeOf(a.body))
}

var mediaType = regexp.MustCompile(`^(application|text)/[a-z.+-]{1,40}$`)

// shapeOf is what a body is like, without what it says: of JSON, names and types, and
// which of its truths are true.
func shapeOf(body []byte) string {
	var v any
	switch {
	case len(body) == 0:
		return "no body"
	case json.Unmarshal(body, &v) == nil:
		return shape(v, 3)
	}
	return fmt.Sprintf("%d bytes that are not JSON", len(body))
}

// member is what names in JSON look like that somebody meant as such.
var member = regexp.MustCompile(`^[A-Za-z][A-Za-z_]{0,29}$`)

func shape(v any, depth int) string {
	switch v := v.(type) {
	case map[string]any:
		if depth == 0 {
			return "{…}"
		}
		var members []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			shown := name
			if !member.MatchString(name) {
				shown = "…"
			}
			members = append(members, shown+": "+shape(v[name], depth-1))
		}
		if len(members) > 12 {
			members = append(members[:12], "…")
		}
		return "{" + strings.Join(members, ", ") + "}"
	case []any:
		if len(v) == 0 || depth == 0 {
			return fmt.Sprintf("list of %d", len(v))
		}
		return fmt.Sprintf("list of %d: %s", len(v), shape(v[0], depth-1))
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return fmt.Sprint(v)
	}
	return "null"
}
