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

	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
)

var operations = map[string]func(*call) (object, *failure){
	"cloudformation:DescribeStacks":   describeStacks,
	"cloudwatch:DescribeAlarms":       describeAlarms,
	"iam:SimulatePrincipalPolicy":     simulatePrincipalPolicy,
	"lambda:GetFunctionConfiguration": getFunctionConfiguration,
	"logs:FilterLogEvents":            filterLogEvents,
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
	return object{"Arn": c.caller, "Account": strings.Split(c.caller, ":")[4], "UserId": "AIDAEXAMPLE0123456789"}, nil
}

func describeStacks(c *call) (object, *failure) {
	name := c.str("StackName")
	stack, ok := c.state.Stacks[name]
	if !ok || c.region != region {
		return nil, &failure{http.StatusBadRequest, "ValidationError", "Stack with id " + name + " does not exist"}
	}
	pairs := func(of map[string]string, key, value string) (list []any) {
		for _, name := range slices.Sorted(maps.Keys(of)) {
			list = append(list, object{key: name, value: of[name]})
		}
		return list
	}
	return object{"Stacks": []any{object{
		"StackName":   name,
		"StackId":     arn("cloudformation", "stack/"+name+"/c8a0c8a0-0000-0000-0000-000000000000"),
		"StackStatus": "CREATE_COMPLETE",
		"Outputs":     pairs(stack.Outputs, "OutputKey", "OutputValue"),
		"Parameters":  pairs(stack.Parameters, "ParameterKey", "ParameterValue"),
	}}}, nil
}

func describeAlarms(c *call) (object, *failure) {
	list := []any{}
	for _, name := range slices.Sorted(maps.Keys(c.state.Alarms)) {
		alarm, state := c.state.Alarms[name], "OK"
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

func listSchedules(c *call) (object, *failure) {
	list := []any{}
	for _, key := range slices.Sorted(maps.Keys(c.state.Schedules)) {
		group, name, _ := strings.Cut(key, "/")
		if group == c.str("ScheduleGroup") {
			list = append(list, object{"GroupName": group, "Name": name, "State": c.state.Schedules[key]})
		}
	}
	return object{"Schedules": list}, nil
}

func getQueueURL(c *call) (object, *failure) {
	name := c.str("QueueName")
	if _, ok := c.state.Queues[name]; !ok {
		return nil, &failure{http.StatusBadRequest, "QueueDoesNotExist", "The specified queue does not exist."}
	}
	return object{"QueueUrl": "https://sqs." + region + ".amazonaws.com/" + account + "/" + name}, nil
}

func getQueueAttributes(c *call) (object, *failure) {
	url := c.str("QueueUrl")
	messages := c.state.Queues[url[strings.LastIndex(url, "/")+1:]]
	return object{"Attributes": object{"ApproximateNumberOfMessages": fmt.Sprint(messages)}}, nil
}

// getTopicAttributes shows no more of a topic than how many subscriptions it has.
func getTopicAttributes(c *call) (object, *failure) {
	topic, ok := c.state.Topics[strings.TrimPrefix(c.str("TopicArn"), arn("sns", ""))]
	if !ok {
		return nil, &failure{http.StatusNotFound, "NotFound", "Topic does not exist"}
	}
	return object{"Attributes": attributes{
		"SubscriptionsConfirmed": fmt.Sprint(topic.Confirmed), "SubscriptionsPending": fmt.Sprint(topic.Pending),
	}}, nil
}

// simulatePrincipalPolicy is about one action of a role on one resource. It does not look at
// conditions.
func simulatePrincipalPolicy(c *call) (object, *failure) {
	role := strings.TrimPrefix(c.str("PolicySourceArn"), "arn:aws:iam::"+account+":role/")
	action, resource := c.str("ActionNames.member.1"), c.str("ResourceArns.member.1")
	decision := "implicitDeny"
	if slices.ContainsFunc(c.state.Roles[role], func(statement string) bool { return admits(statement, action+" "+resource) }) {
		decision = "allowed"
	}
	return object{"EvaluationResults": []any{object{"EvalActionName": action, "EvalResourceName": resource, "EvalDecision": decision}}}, nil
}

func admits(statement, what string) bool {
	prefix, open := strings.CutSuffix(statement, "*")
	return statement == what || open && strings.HasPrefix(what, prefix)
}

// function finds a function by its name, and vend by its alias, live, too: the templates
// give rotate none.
func (c *call) function() (name string, _ Function, _ *failure) {
	name = c.str("FunctionName")
	alias := c.str("Qualifier")
	function, ok := c.Functions[name]
	if !ok || alias != "" && !(alias == "live" && strings.HasSuffix(name, "-vend")) {
		return "", nil, &failure{http.StatusNotFound, "ResourceNotFoundException", "Function not found: " + arn("lambda", "function:"+name)}
	}
	return name, function, nil
}

// getFunctionConfiguration says which role it runs as, that of its name, and what it logs.
func getFunctionConfiguration(c *call) (object, *failure) {
	name, _, failed := c.function()
	if failed != nil {
		return nil, failed
	}
	level := c.state.LogLevels[name]
	return object{
		"FunctionName": name, "Role": "arn:aws:iam::" + account + ":role/" + name,
		"LoggingConfig": object{"ApplicationLogLevel": cmp.Or(level.Application, "INFO"), "SystemLogLevel": cmp.Or(level.System, "INFO")},
	}, nil
}

func (c *call) invokeFunction() (object, *failure) {
	_, function, failed := c.function()
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
