package awstest

// The operations, by the actions that IAM knows them as.

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
)

var operations = map[string]func(*call) (object, *failure){
	"cloudformation:DescribeStacks":   describeStacks,
	"cloudwatch:DescribeAlarms":       describeAlarms,
	"iam:SimulatePrincipalPolicy":     simulatePrincipalPolicy,
	"lambda:GetFunctionConfiguration": getFunctionConfiguration,
	"lambda:InvokeFunction":           invokeFunction,
	"logs:FilterLogEvents":            filterLogEvents,
	"scheduler:GetSchedule":           getSchedule,
	"scheduler:ListSchedules":         listSchedules,
	"sns:GetTopicAttributes":          getTopicAttributes,
	"sqs:GetQueueAttributes":          getQueueAttributes,
	"sqs:GetQueueUrl":                 getQueueURL,
	"sts:GetCallerIdentity":           getCallerIdentity,
}

// str is a parameter, empty if it is missing.
func (c *call) str(name string) string {
	s, _ := c.in[name].(string)
	return s
}

func getCallerIdentity(c *call) (object, *failure) {
	parts := strings.Split(c.caller, ":")
	if len(parts) != 6 {
		return nil, &failure{http.StatusInternalServerError, "InternalFailure", "the key's holder is not an ARN"}
	}
	return object{"Arn": c.caller, "Account": parts[4], "UserId": "AIDAEXAMPLE0123456789"}, nil
}

func describeStacks(c *call) (object, *failure) {
	name := c.str("StackName")
	stack, ok := c.look().Stacks[name]
	elsewhere := c.region != c.Server.region() || !strings.Contains(c.caller, ":"+c.account()+":")
	if !ok || elsewhere {
		return nil, &failure{http.StatusBadRequest, "ValidationError", "Stack with id " + name + " does not exist"}
	}
	pairs := func(of map[string]string, key, value string) (list []any) {
		for _, name := range slices.Sorted(maps.Keys(of)) {
			list = append(list, object{key: name, value: of[name]})
		}
		return list
	}
	return object{"Stacks": []any{object{
		"StackName":    name,
		"StackId":      c.arn("cloudformation", "stack/"+name+"/c8a0c8a0-0000-0000-0000-000000000000"),
		"StackStatus":  cmp.Or(stack.Status, "CREATE_COMPLETE"),
		"CreationTime": time.Now().Add(-time.Hour),
		"Outputs":      pairs(stack.Outputs, "OutputKey", "OutputValue"),
		"Parameters":   pairs(stack.Parameters, "ParameterKey", "ParameterValue"),
	}}}, nil
}

func describeAlarms(c *call) (object, *failure) {
	list := []any{}
	alarms := c.look().Alarms
	for _, name := range slices.Sorted(maps.Keys(alarms)) {
		alarm, state := alarms[name], "OK"
		if alarm.Ringing {
			state = "ALARM"
		}
		if !strings.HasPrefix(name, c.str("AlarmNamePrefix")) || c.in["StateValue"] != nil && c.str("StateValue") != state {
			continue
		}
		list = append(list, object{"AlarmName": name, "AlarmDescription": alarm.Description, "StateValue": state, "StateReason": alarm.Reason})
	}
	return object{"MetricAlarms": list}, nil
}

// getSchedule shows no more of a schedule than where it leads and whether it is on.
func getSchedule(c *call) (object, *failure) {
	group, name := cmp.Or(c.str("groupName"), "default"), c.str("Name")
	state, ok := c.look().Schedules[group+"/"+name]
	if !ok {
		return nil, &failure{http.StatusNotFound, "ResourceNotFoundException", "Schedule " + name + " does not exist."}
	}
	return c.schedule(group, name, state), nil
}

func listSchedules(c *call) (object, *failure) {
	list := []any{}
	schedules := c.look().Schedules
	for _, key := range slices.Sorted(maps.Keys(schedules)) {
		group, name, _ := strings.Cut(key, "/")
		if group == c.str("ScheduleGroup") {
			list = append(list, c.schedule(group, name, schedules[key]))
		}
	}
	return object{"Schedules": list}, nil
}

func (c *call) schedule(group, name, state string) object {
	return object{
		"GroupName": group, "Name": name, "State": state, "ScheduleExpression": "rate(5 minutes)",
		"Arn":    c.arn("scheduler", "schedule/"+group+"/"+name),
		"Target": object{"Arn": c.arn("lambda", "function:"+group+"-rotate")},
	}
}

func getQueueURL(c *call) (object, *failure) {
	name := c.str("QueueName")
	if _, ok := c.look().Queues[name]; !ok {
		return nil, noQueue
	}
	return object{"QueueUrl": "https://sqs." + c.Server.region() + ".amazonaws.com/" + c.account() + "/" + name}, nil
}

func getQueueAttributes(c *call) (object, *failure) {
	url := c.str("QueueUrl")
	messages, ok := c.look().Queues[url[strings.LastIndex(url, "/")+1:]]
	if !ok {
		return nil, noQueue
	}
	return object{"Attributes": object{"ApproximateNumberOfMessages": fmt.Sprint(messages)}}, nil
}

var noQueue = &failure{http.StatusBadRequest, "QueueDoesNotExist", "The specified queue does not exist."}

// getTopicAttributes shows no more of a topic than how many subscriptions it has.
func getTopicAttributes(c *call) (object, *failure) {
	arn := c.str("TopicArn")
	topic, ok := c.look().Topics[strings.TrimPrefix(arn, c.arn("sns", ""))]
	if !ok {
		return nil, &failure{http.StatusNotFound, "NotFound", "Topic does not exist"}
	}
	return object{"Attributes": attributes{
		"TopicArn": arn, "SubscriptionsConfirmed": fmt.Sprint(topic.Confirmed), "SubscriptionsPending": fmt.Sprint(topic.Pending), "SubscriptionsDeleted": "0",
	}}, nil
}

// simulatePrincipalPolicy is about roles only. It does not look at their conditions.
func simulatePrincipalPolicy(c *call) (object, *failure) {
	role, isRole := strings.CutPrefix(c.str("PolicySourceArn"), "arn:aws:iam::"+c.account()+":role/")
	allowed, ok := c.look().Roles[role]
	if !isRole || !ok {
		return nil, &failure{http.StatusNotFound, "NoSuchEntity", "The role with name " + role + " cannot be found."}
	}
	list := []any{}
	actions, _ := c.in["ActionNames"].([]any)
	resources, _ := c.in["ResourceArns"].([]any)
	for _, action := range actions {
		for _, resource := range resources {
			decision := "implicitDeny"
			if slices.ContainsFunc(allowed, func(statement string) bool { return admits(statement, fmt.Sprint(action, " ", resource)) }) {
				decision = "allowed"
			}
			list = append(list, object{"EvalActionName": action, "EvalResourceName": resource, "EvalDecision": decision})
		}
	}
	return object{"EvaluationResults": list, "IsTruncated": false}, nil
}

func admits(statement, what string) bool {
	prefix, open := strings.CutSuffix(statement, "*")
	return statement == what || open && strings.HasPrefix(what, prefix)
}

// function finds a function by its name, and vend by its alias, live, too: the templates
// give rotate none.
func (c *call) function() (name, arn string, _ Function, _ *failure) {
	name, alias, _ := strings.Cut(c.str("FunctionName"), ":")
	alias = cmp.Or(alias, c.str("Qualifier"))
	arn = c.arn("lambda", "function:"+name)
	if alias != "" {
		arn += ":" + alias
	}
	function, ok := c.Functions[name]
	if !ok || alias != "" && !(alias == "live" && strings.HasSuffix(name, "-vend")) {
		return "", "", nil, &failure{http.StatusNotFound, "ResourceNotFoundException", "Function not found: " + arn}
	}
	return name, arn, function, nil
}

// getFunctionConfiguration says which role it runs as, that of its name, and what it logs.
func getFunctionConfiguration(c *call) (object, *failure) {
	name, arn, _, failed := c.function()
	if failed != nil {
		return nil, failed
	}
	level := c.look().LogLevels[name]
	return object{
		"FunctionName": name, "FunctionArn": arn, "Role": "arn:aws:iam::" + c.account() + ":role/" + name,
		"State": "Active", "LastUpdateStatus": "Successful",
		"LoggingConfig": object{
			"LogFormat": "JSON", "LogGroup": "/aws/lambda/" + name,
			"ApplicationLogLevel": cmp.Or(level.Application, "INFO"), "SystemLogLevel": cmp.Or(level.System, "INFO"),
		},
	}, nil
}

func invokeFunction(c *call) (object, *failure) {
	_, _, function, failed := c.function()
	if failed != nil {
		return nil, failed
	}
	payload, _ := c.in["Payload"].([]byte)
	answer, err := function(c.ctx, payload)
	if failure, ok := errors.AsType[*lambdatest.Error](err); ok {
		return object{"FunctionError": "Unhandled", "Payload": failure.Payload}, nil
	}
	if err != nil {
		return nil, &failure{http.StatusInternalServerError, "ServiceException", err.Error()}
	}
	return object{"Payload": answer}, nil
}
