// Package awstest is a fake of what an operator's tool needs of AWS: one region
// of one account in which c8auth is deployed, behind one endpoint (AWS_ENDPOINT_URL).
//
//	aws := &awstest.Server{
//		Keys:      map[string]string{"AKIDEXAMPLE": "arn:aws:iam::123456789012:user/operator"},
//		Secrets:   new(smtest.Server),
//		Functions: map[string]awstest.Function{"c8auth-rotate": rotate.Invoke},
//	}
//	aws.Deploy("c8auth", "https://…/v1", "default", "acme")
//	http.ListenAndServe(address, aws)
//
// The service that a request is for is the one in its signature's scope. Each is
// spoken to in the protocol that the AWS SDK for Go speaks to it: the query protocol
// (CloudFormation, IAM, SNS, STS), JSON 1.0 and 1.1 (SQS, CloudWatch Logs), REST and JSON
// (Lambda, EventBridge Scheduler), CBOR (CloudWatch). Secrets Manager is a handler of
// its own, of package smtest.
//
// What the functions log comes in by [Server.Log]. Everything else is as
// [Server.Deploy] makes it, and as a test or a demonstration then changes it by
// [Server.Set]: nothing here evaluates alarms, fills queues or runs schedules.
// Permissions are not checked: each action is allowed unless it is in State.Refused.
// Signatures are not, either, but for whose key they are made with.
package awstest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// The account and region. In other regions there is no stack.
const (
	region  = "eu-central-1"
	account = "123456789012"
)

// Server is the account. Its fields must not change while it serves; its state may,
// by its methods, which may be called concurrently.
type Server struct {
	Keys      map[string]string   // the ARN of its holder by access key id; other keys are not valid
	Secrets   http.Handler        // what Secrets Manager is asked
	Functions map[string]Function // by name

	PageEvents int // how many a page of FilterLogEvents looks at; 0: 10,000, as on AWS

	mu    sync.Mutex
	state State
	logs  map[string][]event // by log group, oldest first
}

// Function is a Lambda function; usually it is (*lambdatest.Function).Invoke.
type Function func(ctx context.Context, payload []byte) ([]byte, error)

// State is what there is in the account.
type State struct {
	Stacks    map[string]Stack
	Alarms    map[string]Alarm
	Schedules map[string]string   // ENABLED or DISABLED, by group/name
	Queues    map[string]int      // how many messages are in it, by name
	Topics    map[string]Topic    // of SNS, by name
	LogLevels map[string]LogLevel // of functions, by name; INFO, if it has none
	Roles     map[string][]string // what it is allowed, "action resource", of which the latter may end with *
	Refused   map[string]bool     // actions, as IAM names them, such as logs:FilterLogEvents
	Skew      time.Duration       // how far AWS's clock is ahead of this one
}

// Stack is a CloudFormation stack.
type Stack struct{ Outputs, Parameters map[string]string }

// Alarm is a CloudWatch alarm.
type Alarm struct {
	Description string
	Ringing     bool
	Reason      string
}

// Topic is an SNS topic, by the numbers of its subscriptions.
type Topic struct{ Confirmed, Pending int }

// LogLevel is what of a function's lines Lambda sends to CloudWatch. Empty: INFO and above.
type LogLevel struct{ Application, System string }

// Deploy makes what the templates make for the stack and its tenants, apart from the
// functions and the secrets. Nothing rings, and one subscriber is told of alarms. url is the
// API's.
func (s *Server) Deploy(stack, url string, tenants ...string) {
	s.Set(func(state *State) {
		state.Stacks[stack] = Stack{
			Outputs:    map[string]string{"Api": "c8auth0api", "Url": url},
			Parameters: map[string]string{"ProbePath": "/int/v1/broadcast?limit=1", "VpcEndpoints": "", "OtherCallers": "", "OtherCallersTenants": "default"},
		}
		for alarm, description := range stackAlarms {
			state.Alarms[stack+"/"+alarm] = Alarm{Description: description}
		}
		state.Topics[stack+"-alarms"] = Topic{Confirmed: 1}
		for _, queue := range []string{"undelivered", "failed"} {
			state.Queues[stack+"-"+queue] = 0
		}
		tokens, credentials := arn("secretsmanager", "secret:"+stack+"/token/*"), arn("secretsmanager", "secret:"+stack+"/credentials/*")
		state.Roles[stack+"-vend"] = []string{"secretsmanager:GetSecretValue " + tokens}
		state.Roles[stack+"-rotate"] = []string{
			"secretsmanager:DescribeSecret " + credentials, "secretsmanager:GetSecretValue " + credentials,
			"secretsmanager:GetSecretValue " + tokens, "secretsmanager:PutSecretValue " + tokens, "secretsmanager:DescribeSecret " + tokens,
		}
		for _, function := range []string{"rotate", "vend"} {
			group := "/aws/lambda/" + stack + "-" + function
			s.logs[group] = append([]event{}, s.logs[group]...)
		}
		for _, tenant := range tenants {
			state.Schedules[stack+"/"+tenant] = "ENABLED"
			for alarm, description := range tenantAlarms {
				state.Alarms[stack+"/"+tenant+"/"+alarm] = Alarm{Description: description}
			}
		}
	})
}

// The alarms of template.yaml that tell of rotate, and those of tenant.yaml, with the
// beginning of what they say there.
var (
	stackAlarms = map[string]string{
		"rotations-fail":  "Rotations have been failing for 15 minutes.",
		"heartbeats-lost": "EventBridge Scheduler could not invoke rotate.",
		"failures-unread": "Six or more rotations failed within four days,",
	}
	tenantAlarms = map[string]string{
		"life":                "The token of ${Tenant} has less than",
		"credentials-refused": "Communic8 refuses the credentials of ${Tenant}",
	}
)

// Set changes the state, whose maps are all there.
func (s *Server) Set(change func(*State)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Stacks == nil {
		s.state = State{
			Stacks: make(map[string]Stack), Alarms: make(map[string]Alarm), Schedules: make(map[string]string),
			Queues: make(map[string]int), Topics: make(map[string]Topic), LogLevels: make(map[string]LogLevel),
			Roles: make(map[string][]string), Refused: make(map[string]bool),
		}
		s.logs = make(map[string][]event)
	}
	change(&s.state)
}

// Ring lets an alarm ring.
func (s *Server) Ring(name, description, reason string) {
	s.Set(func(state *State) { state.Alarms[name] = Alarm{description, true, reason} })
}

// ServeHTTP answers one request as the service does that it is for.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	credential := strings.TrimPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=")
	scope := strings.Split(credential, "/") // key id, date, region, service, …
	if len(scope) < 5 || protocols[scope[3]].read == nil {
		http.Error(w, "awstest has no service for this signature", http.StatusNotImplemented)
		return
	}
	protocol := protocols[scope[3]]
	body, _ := io.ReadAll(r.Body) // what can be read of it
	operation, in := protocol.read(r, body)
	c := &call{Server: s, ctx: r.Context(), action: protocol.prefix + ":" + operation, caller: s.Keys[scope[0]], region: scope[2], in: in}

	s.mu.Lock()
	w.Header().Set("Date", time.Now().Add(s.state.Skew).UTC().Format(http.TimeFormat))
	failed := c.refuse()
	s.mu.Unlock()
	if failed == nil && protocol.prefix == "secretsmanager" {
		r.Body = io.NopCloser(bytes.NewReader(body))
		s.Secrets.ServeHTTP(w, r)
		return
	}
	var out object
	if failed == nil {
		out, failed = c.perform()
	}
	if failed != nil {
		protocol.fail(w, failed)
		return
	}
	protocol.write(w, operation, out)
}

// call is one request, whatever its protocol.
type call struct {
	*Server
	ctx            context.Context
	action         string
	caller, region string
	in             object
}

// refuse is what IAM says.
func (c *call) refuse() *failure {
	switch {
	case c.caller == "":
		return &failure{http.StatusForbidden, "UnrecognizedClientException", "The security token included in the request is invalid."}
	case c.state.Refused[c.action]:
		return &failure{http.StatusForbidden, "AccessDeniedException", fmt.Sprintf(
			"User: %s is not authorized to perform: %s because no identity-based policy allows the %[2]s action", c.caller, c.action)}
	}
	return nil
}

// perform holds the lock, except for a function, which takes its time and logs.
func (c *call) perform() (object, *failure) {
	if c.action == "lambda:InvokeFunction" {
		return c.invokeFunction()
	}
	operation, ok := operations[c.action]
	if !ok {
		return nil, &failure{http.StatusBadRequest, "InvalidAction", "awstest does not perform " + c.action}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return operation(c)
}

func arn(service, resource string) string {
	return "arn:aws:" + service + ":" + region + ":" + account + ":" + resource
}
