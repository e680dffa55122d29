package awstest_test

// The real clients of the AWS SDK, at the stand-in: what they understand of it.

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cloudwatchtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/c8auth/c8auth/internal/fakes/awstest"
	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

const operator = "arn:aws:iam::123456789012:user/operator"

// connect returns an account with c8auth in it, and the configuration by which the
// clients reach it.
func connect(t *testing.T) (*awstest.Server, aws.Config) {
	t.Helper()
	secrets := new(smtest.Server)
	secrets.Create("c8auth/token/acme")
	server := &awstest.Server{
		Keys:       map[string]string{"AKIDEXAMPLE": operator},
		Secrets:    secrets,
		PageEvents: 100,
		Functions: map[string]awstest.Function{
			"c8auth-rotate": func(_ context.Context, payload []byte) ([]byte, error) {
				if string(payload) == "fail" {
					return nil, &lambdatest.Error{Kind: lambdatest.FunctionError, Payload: []byte(`{"errorMessage":"it does"}`)}
				}
				return append([]byte("got "), payload...), nil
			},
			"c8auth-vend": func(context.Context, []byte) ([]byte, error) { return []byte("{}"), nil },
		},
	}
	server.Deploy("c8auth", "https://api.example/v1", "acme")
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	return server, aws.Config{
		Region: "eu-central-1", BaseEndpoint: &listener.URL, RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "any"}, nil
		}),
	}
}

// calls are all operations, each once, with what is understood of the answer.
func calls(ctx context.Context, cfg aws.Config) map[string]func() (string, error) {
	invoke := func(payload string) (string, error) {
		out, err := lambda.NewFromConfig(cfg).Invoke(ctx, &lambda.InvokeInput{
			FunctionName: aws.String("c8auth-rotate"), Payload: []byte(payload),
		})
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%d %s %s", out.StatusCode, aws.ToString(out.FunctionError), out.Payload), nil
	}
	configuration := func(function string, alias *string) (string, error) {
		out, err := lambda.NewFromConfig(cfg).GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &function, Qualifier: alias})
		if err != nil {
			return "", err
		}
		return fmt.Sprint(*out.FunctionArn, " ", *out.Role, " ", out.State, " ", out.LoggingConfig.LogFormat, " ", out.LoggingConfig.ApplicationLogLevel, " ", out.LoggingConfig.SystemLogLevel), nil
	}
	return map[string]func() (string, error){
		"sts:GetCallerIdentity": func() (string, error) {
			out, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil)
			if err != nil {
				return "", err
			}
			return *out.Arn + " " + *out.Account, nil
		},
		"cloudformation:DescribeStacks": func() (string, error) {
			out, err := cloudformation.NewFromConfig(cfg).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: aws.String("c8auth")})
			if err != nil {
				return "", err
			}
			stack := out.Stacks[0]
			return fmt.Sprintln(*stack.StackId, stack.StackStatus, *stack.Outputs[0].OutputKey, *stack.Outputs[0].OutputValue, *stack.Parameters[0].ParameterKey), nil
		},
		"cloudwatch:DescribeAlarms": func() (string, error) {
			out, err := cloudwatch.NewFromConfig(cfg).DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{
				AlarmNamePrefix: aws.String("c8auth/"), StateValue: cloudwatchtypes.StateValueAlarm,
			})
			if err != nil {
				return "", err
			}
			text := ""
			for _, alarm := range out.MetricAlarms {
				text += fmt.Sprintln(*alarm.AlarmName, *alarm.AlarmDescription, alarm.StateValue, *alarm.StateReason)
			}
			return text, nil
		},
		"iam:SimulatePrincipalPolicy": func() (string, error) {
			out, err := iam.NewFromConfig(cfg).SimulatePrincipalPolicy(ctx, &iam.SimulatePrincipalPolicyInput{
				PolicySourceArn: aws.String("arn:aws:iam::123456789012:role/c8auth-vend"),
				ActionNames:     []string{"secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"},
				ResourceArns:    []string{"arn:aws:secretsmanager:eu-central-1:123456789012:secret:c8auth/token/acme-abcdef"},
			})
			if err != nil {
				return "", err
			}
			text := ""
			for _, result := range out.EvaluationResults {
				text += fmt.Sprintln(*result.EvalActionName, result.EvalDecision)
			}
			return text, nil
		},
		"lambda:GetFunctionConfiguration":                 func() (string, error) { return configuration("c8auth-rotate", nil) },
		"lambda:GetFunctionConfiguration, alias":          func() (string, error) { return configuration("c8auth-vend", aws.String("live")) },
		"lambda:GetFunctionConfiguration, vend's $LATEST": func() (string, error) { return configuration("c8auth-vend", nil) },
		"lambda:InvokeFunction":                           func() (string, error) { return invoke("event") },
		"lambda:InvokeFunction, failing": func() (string, error) {
			return invoke("fail")
		},
		"logs:FilterLogEvents": func() (string, error) {
			text := ""
			in := &cloudwatchlogs.FilterLogEventsInput{
				LogGroupName: aws.String("/aws/lambda/c8auth-rotate"), FilterPattern: aws.String(`{ ($.message = "rotation") && ($.tenant = "acme") }`),
				StartTime: aws.Int64(time.Now().Add(-time.Hour).UnixMilli()),
			}
			pages := cloudwatchlogs.NewFilterLogEventsPaginator(cloudwatchlogs.NewFromConfig(cfg), in)
			for pages.HasMorePages() {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return "", err
				}
				text += fmt.Sprintln(len(page.Events))
				for _, event := range page.Events {
					text += fmt.Sprintln(*event.Message, time.Since(time.UnixMilli(*event.Timestamp)).Round(time.Minute))
				}
			}
			return text, nil
		},
		"scheduler:GetSchedule": func() (string, error) {
			out, err := scheduler.NewFromConfig(cfg).GetSchedule(ctx, &scheduler.GetScheduleInput{GroupName: aws.String("c8auth"), Name: aws.String("acme")})
			if err != nil {
				return "", err
			}
			return fmt.Sprint(out.State, " ", *out.ScheduleExpression, " ", *out.Target.Arn), nil
		},
		"scheduler:ListSchedules": func() (string, error) {
			out, err := scheduler.NewFromConfig(cfg).ListSchedules(ctx, &scheduler.ListSchedulesInput{GroupName: aws.String("c8auth")})
			if err != nil {
				return "", err
			}
			return fmt.Sprint(len(out.Schedules), " ", *out.Schedules[0].Name, " ", out.Schedules[0].State), nil
		},
		"secretsmanager:ListSecrets": func() (string, error) {
			out, err := secretsmanager.NewFromConfig(cfg).ListSecrets(ctx, nil)
			if err != nil {
				return "", err
			}
			return *out.SecretList[0].Name, nil
		},
		"sns:GetTopicAttributes": func() (string, error) {
			out, err := sns.NewFromConfig(cfg).GetTopicAttributes(ctx, &sns.GetTopicAttributesInput{TopicArn: aws.String("arn:aws:sns:eu-central-1:123456789012:c8auth-alarms")})
			if err != nil {
				return "", err
			}
			return fmt.Sprint(out.Attributes["TopicArn"], " ", out.Attributes["SubscriptionsConfirmed"], " ", out.Attributes["SubscriptionsPending"]), nil
		},
		"sqs:GetQueueUrl": func() (string, error) {
			out, err := sqs.NewFromConfig(cfg).GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String("c8auth-failed")})
			if err != nil {
				return "", err
			}
			return *out.QueueUrl, nil
		},
		"sqs:GetQueueAttributes": func() (string, error) {
			out, err := sqs.NewFromConfig(cfg).GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
				QueueUrl:       aws.String("https://sqs.eu-central-1.amazonaws.com/123456789012/c8auth-failed"),
				AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameApproximateNumberOfMessages},
			})
			if err != nil {
				return "", err
			}
			return fmt.Sprint(out.Attributes), nil
		},
	}
}

// Each client understands its service, and what it is refused.
func TestOperations(t *testing.T) {
	server, cfg := connect(t)
	server.Ring("c8auth/acme/life", "The token has less than …", "2 datapoints <were> below & so on")
	server.Set(func(s *awstest.State) {
		s.Queues["c8auth-failed"] = 7
		s.Topics["c8auth-alarms"] = awstest.Topic{Confirmed: 2, Pending: 1}
		s.LogLevels["c8auth-rotate"] = awstest.LogLevel{Application: "WARN"}
	})
	log := server.Log("/aws/lambda/c8auth-rotate")
	line := func(tenant string, age time.Duration) {
		_, _ = fmt.Fprintf(log, `{"timestamp":%q,"message":"rotation","tenant":%q}`+"\n", time.Now().Add(-age).UTC().Format(time.RFC3339Nano), tenant)
	}
	line("acme", 2*time.Hour)
	for range 120 { // the first page has nothing for us
		line("other", time.Minute)
	}
	line("acme", 2*time.Minute)
	_, _ = fmt.Fprintln(log, "a line of Lambda's own")

	want := map[string]string{
		"sts:GetCallerIdentity":                           operator + " 123456789012",
		"cloudformation:DescribeStacks":                   "arn:aws:cloudformation:eu-central-1:123456789012:stack/c8auth/c8a0c8a0-0000-0000-0000-000000000000 CREATE_COMPLETE Api c8auth0api OtherCallers\n",
		"cloudwatch:DescribeAlarms":                       "c8auth/acme/life The token has less than … ALARM 2 datapoints <were> below & so on\n",
		"iam:SimulatePrincipalPolicy":                     "secretsmanager:GetSecretValue allowed\nsecretsmanager:PutSecretValue implicitDeny\n",
		"lambda:GetFunctionConfiguration":                 "arn:aws:lambda:eu-central-1:123456789012:function:c8auth-rotate arn:aws:iam::123456789012:role/c8auth-rotate Active JSON WARN INFO",
		"lambda:GetFunctionConfiguration, alias":          "arn:aws:lambda:eu-central-1:123456789012:function:c8auth-vend:live arn:aws:iam::123456789012:role/c8auth-vend Active JSON INFO INFO",
		"lambda:GetFunctionConfiguration, vend's $LATEST": "arn:aws:lambda:eu-central-1:123456789012:function:c8auth-vend arn:aws:iam::123456789012:role/c8auth-vend Active JSON INFO INFO",
		"lambda:InvokeFunction":                           "200  got event",
		"lambda:InvokeFunction, failing":                  `200 Unhandled {"errorMessage":"it does"}`,
		"logs:FilterLogEvents":                            "0\n1\n{…} 2m0s\n",
		"scheduler:GetSchedule":                           "ENABLED rate(5 minutes) arn:aws:lambda:eu-central-1:123456789012:function:c8auth-rotate",
		"scheduler:ListSchedules":                         "1 acme ENABLED",
		"sns:GetTopicAttributes":                          "arn:aws:sns:eu-central-1:123456789012:c8auth-alarms 2 1",
		"secretsmanager:ListSecrets":                      "c8auth/token/acme",
		"sqs:GetQueueUrl":                                 "https://sqs.eu-central-1.amazonaws.com/123456789012/c8auth-failed",
		"sqs:GetQueueAttributes":                          "map[ApproximateNumberOfMessages:7]",
	}
	for name, call := range calls(t.Context(), cfg) {
		got, err := call()
		if i, j := strings.Index(got, "{\"timestamp"), strings.LastIndex(got, "}"); i >= 0 {
			got = got[:i] + "{…" + got[j:]
		}
		if err != nil || got != want[name] {
			t.Errorf("%s: got %q (%v), want %q", name, got, err, want[name])
		}
		action, _, _ := strings.Cut(name, ",")
		server.Set(func(s *awstest.State) { s.Refused[action] = true })
		_, err = call()
		if api, ok := errors.AsType[smithy.APIError](err); !ok || !slices.Contains([]string{"AccessDenied", "AccessDeniedException", "AuthorizationError"}, api.ErrorCode()) || !strings.Contains(api.ErrorMessage(), operator) {
			t.Errorf("%s, refused: %v", name, err)
		}
		server.Set(func(s *awstest.State) { s.Refused[action] = false })
	}
}

// What is not there, each service says in its own way; and a key that is nobody's is
// taken by none.
func TestMissing(t *testing.T) {
	server, cfg := connect(t)
	server.Functions = nil
	server.Secrets = new(smtest.Server)
	server.Set(func(s *awstest.State) { s.Stacks, s.Schedules, s.Queues, s.Topics, s.Roles = nil, nil, nil, nil, nil })
	for name, want := range map[string]string{
		"cloudformation:DescribeStacks":          "ValidationError: Stack with id c8auth does not exist",
		"iam:SimulatePrincipalPolicy":            "NoSuchEntity: The role with name c8auth-vend cannot be found.",
		"lambda:GetFunctionConfiguration":        "ResourceNotFoundException: Function not found: arn:aws:lambda:eu-central-1:123456789012:function:c8auth-rotate",
		"lambda:GetFunctionConfiguration, alias": "ResourceNotFoundException: Function not found: arn:aws:lambda:eu-central-1:123456789012:function:c8auth-vend:live",
		"lambda:InvokeFunction":                  "ResourceNotFoundException: Function not found: arn:aws:lambda:eu-central-1:123456789012:function:c8auth-rotate",
		"scheduler:GetSchedule":                  "ResourceNotFoundException: Schedule acme does not exist.",
		"sns:GetTopicAttributes":                 "NotFound: Topic does not exist",
		"sqs:GetQueueUrl":                        "QueueDoesNotExist: The specified queue does not exist.",
		"sqs:GetQueueAttributes":                 "QueueDoesNotExist: The specified queue does not exist.",
	} {
		_, err := calls(t.Context(), cfg)[name]()
		if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode()+": "+api.ErrorMessage() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	_, cfg = connect(t)
	_, err := lambda.NewFromConfig(cfg).Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("c8auth-rotate"), Qualifier: aws.String("live")})
	if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != "ResourceNotFoundException" {
		t.Errorf("rotate, by an alias that it does not have: %v", err)
	}
	cfg.Region = "us-east-1"
	if _, err := calls(t.Context(), cfg)["cloudformation:DescribeStacks"](); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("in another region: %v", err)
	}
	server, cfg = connect(t)
	server.Keys["AKIDEXAMPLE"] = "arn:aws:iam::210987654321:user/other"
	if _, err := calls(t.Context(), cfg)["cloudformation:DescribeStacks"](); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("in another account: %v", err)
	}
	cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIDOTHER", SecretAccessKey: "any"}, nil
	})
	for name, call := range calls(t.Context(), cfg) {
		_, err := call()
		if api, ok := errors.AsType[smithy.APIError](err); !ok || !slices.Contains([]string{"UnrecognizedClientException", "InvalidClientTokenId"}, api.ErrorCode()) {
			t.Errorf("%s, by nobody's key: %v", name, err)
		}
	}
}

// AWS's clock may differ from this one.
func TestSkew(t *testing.T) {
	server, cfg := connect(t)
	server.Set(func(s *awstest.State) { s.Skew = time.Hour })
	out, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	at, ok := awsmiddleware.GetServerTime(out.ResultMetadata)
	if ahead := time.Until(at).Round(time.Minute); !ok || ahead != time.Hour {
		t.Errorf("its clock is %s ahead, want an hour", ahead)
	}
}

// What the stand-in calls alarms, queues and schedules, the templates call so.
func TestTemplates(t *testing.T) {
	root, err := lambdatest.Root()
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, name := range []string{"template.yaml", "tenant.yaml"} {
		file, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		text += strings.NewReplacer("${AWS::StackName}", "${Stack}").Replace(string(file))
	}
	server := new(awstest.Server)
	server.Deploy("${Stack}", "", "${Tenant}")
	server.Set(func(s *awstest.State) {
		for name, alarm := range s.Alarms {
			if !strings.Contains(text, "AlarmName: !Sub "+name+"\n") || !strings.Contains(text, alarm.Description) {
				t.Errorf("there is no alarm %s: %s", name, alarm.Description)
			}
		}
		for name := range s.Queues {
			if !strings.Contains(text, "QueueName: !Sub "+name+"\n") {
				t.Errorf("there is no queue %s", name)
			}
		}
		for name := range s.Topics {
			if !strings.Contains(text, "TopicName: !Sub "+name+"\n") {
				t.Errorf("there is no topic %s", name)
			}
		}
		if s.Schedules["${Stack}/${Tenant}"] != "ENABLED" || !strings.Contains(text, "GroupName: !Ref Stack\n      Name: !Ref Tenant\n") ||
			!strings.Contains(text, ":function:${Stack}-rotate\n") {
			t.Error("the tenant's schedule has another name or target")
		}
	})
}
