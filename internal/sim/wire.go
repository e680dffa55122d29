package sim

// The connections between a process and the services that it calls. Every step of a function
// is a call, so that a fault here can occur between any two steps: before the call takes
// effect, or after it has and before the process knows.

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/inmem"
)

// client returns a client as the product opens it, but for the connection and for a cache of
// AWS credentials that all processes would share.
func (p *process) client() *secretsmanager.Client {
	options := p.aws.Copy()
	timeout := options.HTTPClient.(*awshttp.BuildableClient).GetTimeout()
	options.HTTPClient = &http.Client{Transport: secrets{p}, Timeout: timeout}
	options.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "example"}, nil
	})
	return secretsmanager.New(options)
}

// killed is the panic that ends a process.
type killed struct{}

// call is one call of a process.
type call struct {
	op     string // of Secrets Manager, or "request" (of a token) or "probe" of Communic8
	tenant *tenant
	secret string // name of the secret
	id     string // version that is named by its id
	stage  string // label that is named
	bearer string // of Communic8
}

func (c call) String() string {
	if c.secret != "" {
		return c.op + " " + c.secret + c.stage
	}
	return c.op + " " + c.tenant.name
}

var errBroken = errors.New("connection broken")

// carry transports a request and its answer.
func (p *process) carry(req *http.Request, c call, through http.RoundTripper) (*http.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endInTime()
	f := p.callFault(c)
	if f.name != "" {
		p.noteFault(c, f)
	}
	if err := p.pass(req.Context(), f.there); err != nil {
		return nil, err
	}
	if f.kill == 1 {
		p.die(c)
	}
	var resp *http.Response
	var body []byte
	if !f.noEffect {
		p.before(c)
		var err error
		if resp, err = through.RoundTrip(req); err != nil {
			return nil, err
		}
		if body, err = io.ReadAll(resp.Body); err != nil {
			return nil, err
		}
		_ = resp.Body.Close()
		if f.rewrite != nil {
			body = f.rewrite(body)
		}
		p.after(c, f, resp.StatusCode, body)
	}
	p.note(p.name, "%v%s", c, f)
	if f.kill == 2 {
		p.die(c)
	}
	if f.stall > 0 {
		p.sleep(f.stall)
		p.endInTime()
	}
	if f.hang {
		f.back = longest
	}
	if err := p.pass(req.Context(), f.back); err != nil {
		return nil, err
	}
	if f.broken {
		return nil, errBroken
	}
	if f.status != 0 {
		resp = &http.Response{
			Status: http.StatusText(f.status), StatusCode: f.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: f.header, ContentLength: -1, Request: req,
		}
		body = []byte(f.body)
	}
	p.endInTime()
	p.received(c, resp, body, f.chunkDelay == 0)
	resp.Body = io.NopCloser(&bodyReader{ctx: req.Context(), text: body, delay: f.chunkDelay, endless: f.endless})
	return resp, nil
}

// noteFault notes what goes wrong with a call.
func (p *process) noteFault(c call, f callFault) {
	i := p.inv
	p.counts["faults"]++
	i.faults++
	if f.transient {
		i.transient++
	}
	if c.secret != "" {
		i.storeFaults++
	}
	i.stalled = i.stalled || f.stall > 0
	c.tenant.disturbed, c.tenant.faulted = p.now(), p.now()
	p.event(c.tenant)
}

// before is called when a call takes effect, before it does.
func (p *process) before(c call) {
	p.check()
	if c.op == "request" {
		p.counts["requests"]++
		p.checkRequest(c)
	}
	if c.op == "PutSecretValue" && p.inv.full {
		p.violate(c.tenant, "a write is not repeated that the quota of versions refuses")
	}
	if p.inv.report != "" && c.secret == "" {
		p.checkReportCall(c)
	}
}

// after is called when a call has taken effect.
func (p *process) after(c call, f callFault, status int, body []byte) {
	switch {
	case c.op == "request" && status == http.StatusOK:
		p.issued(c, f, body)
	case c.op == "PutSecretValue" && bytes.Contains(body, []byte("LimitExceededException")):
		p.counts["full"]++
		c.tenant.refusedAt = p.now()
		p.disturb(c.tenant)
	case c.op == "PutSecretValue" && c.stage != "":
		if status == http.StatusOK && !c.tenant.claims.seen[c.id] {
			p.claimed(c)
		}
	case c.op == "PutSecretValue":
		old := c.tenant.stored
		if _, version := p.sm.Value(c.secret); version != old.version {
			p.counts["writes"]++
			p.writers[version] = p.offset
			p.load(c.tenant, false)
			c.tenant.stored.assumed = p.inv.assumed[c.tenant.stored.token]
			p.checkWrite(c.tenant, old)
		}
	}
	p.check()
}

// die ends the process.
func (p *process) die(c call) {
	p.note(p.name, "killed at %v", c)
	p.counts["killed"]++
	c.tenant.disturbed, c.tenant.faulted = p.now(), p.now()
	p.inv.killed = true
	panic(killed{})
}

// endInTime ends the process after its time-out, as Lambda does, or when the run has ended.
func (p *process) endInTime() {
	if p.now() > p.inv.begun+p.pool.timeout || p.violation != nil {
		p.inv.killed = true
		panic(killed{})
	}
}

// bodyReader reads a body that may be slow or endless.
type bodyReader struct {
	ctx     context.Context
	text    []byte
	at      int
	delay   time.Duration
	endless bool
}

func (b *bodyReader) Read(p []byte) (int, error) {
	if b.at == len(b.text) {
		if !b.endless {
			return 0, io.EOF
		}
		b.at = 0
	}
	part := b.text[b.at:]
	if b.delay > 0 {
		part = part[:min(len(part), 16)]
		select {
		case <-time.After(b.delay):
		case <-b.ctx.Done():
			return 0, b.ctx.Err()
		}
	}
	n := copy(p, part)
	b.at += n
	return n, nil
}

// upstream is the connection to Communic8.
type upstream struct{ *process }

func (u upstream) RoundTrip(req *http.Request) (*http.Response, error) {
	name, _, _ := strings.Cut(req.URL.Host, ".")
	c := call{op: "probe", bearer: strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")}
	if req.URL.Path == c8test.TokenPath {
		c.op = "request"
	}
	for _, t := range u.tenants {
		if t.name == name {
			c.tenant = t
			return u.carry(req, c, inmem.Transport{Handler: t.c8})
		}
	}
	return nil, fmt.Errorf("no such host: %s", name)
}

// secrets is the connection to Secrets Manager.
type secrets struct{ *process }

// The times in a token, as they stand in a string of JSON within JSON, and the date of a
// version.
var (
	times   = regexp.MustCompile(`\\"(?:issued_at|expires_at)\\":\\"[^"\\]+`)
	created = regexp.MustCompile(`"CreatedDate":[0-9.]+`)
)

// shift changes the times in a message: a process whose clock is off writes times that are off
// by as much, and reads times with the opposite error.
func shift(text []byte, by time.Duration) []byte {
	if by == 0 {
		return text
	}
	text = times.ReplaceAllFunc(text, func(match []byte) []byte {
		value := bytes.LastIndexByte(match, '"') + 1
		at, err := time.Parse(time.RFC3339, string(match[value:]))
		if err != nil {
			return match
		}
		return at.Add(by).AppendFormat(bytes.Clone(match[:value]), time.RFC3339)
	})
	return created.ReplaceAllFunc(text, func(match []byte) []byte {
		value := bytes.IndexByte(match, ':') + 1
		seconds, err := strconv.ParseFloat(string(match[value:]), 64)
		if err != nil {
			return match
		}
		return strconv.AppendFloat(bytes.Clone(match[:value]), seconds+by.Seconds(), 'f', 3, 64)
	})
}

func (s secrets) RoundTrip(req *http.Request) (*http.Response, error) {
	c := call{op: strings.TrimPrefix(req.Header.Get("X-Amz-Target"), "secretsmanager.")}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	var in struct {
		SecretId, VersionId, VersionStage, ClientRequestToken string
		VersionStages                                         []string
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, err
	}
	c.secret, c.stage = in.SecretId, in.VersionStage+strings.Join(in.VersionStages, " ")
	c.id = cmp.Or(in.VersionId, in.ClientRequestToken)
	for _, t := range s.tenants {
		if strings.HasSuffix(in.SecretId, "/"+t.name) {
			c.tenant = t
		}
	}
	sent := req.Clone(req.Context())
	sent.Body = io.NopCloser(bytes.NewReader(shift(body, s.offset)))
	sent.ContentLength = -1
	resp, err := s.carry(sent, c, inmem.Transport{Handler: s.sm})
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(shift(got, -s.offset)))
	return resp, nil
}
