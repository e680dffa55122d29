package gwtest

// The event that a REST API hands to its function (payload format 1.0):
// https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// object is a JSON object, in which nil is the null that AWS sends.
// (aws-lambda-go's type for the event leaves nulls out, or makes them "".)
type object = map[string]any

func (g *Gateway) event(r *http.Request, id, keyID string, route route, body []byte) object {
	now := time.Now().UTC()
	headers := forwarded(r)
	query := r.URL.Query()
	var text any // null, if there is none
	if len(body) > 0 {
		text = string(body)
	}
	return object{
		"resource":                        route.resource,
		"path":                            route.path,
		"httpMethod":                      r.Method,
		"headers":                         last(headers),
		"multiValueHeaders":               headers,
		"queryStringParameters":           orNull(last(query)),
		"multiValueQueryStringParameters": orNull(query),
		"pathParameters":                  object{"tenant": route.tenant},
		"stageVariables":                  nil,
		"requestContext": object{
			"accountId":         account,
			"apiId":             api,
			"deploymentId":      "d3pl0y",
			"domainName":        api + ".execute-api." + region + ".amazonaws.com",
			"domainPrefix":      api,
			"extendedRequestId": "RHcZfExAmPlEBwg=",
			"httpMethod":        r.Method,
			"identity":          identity(r, keyID, g.Keys[keyID].ARN),
			"path":              route.full,
			"protocol":          r.Proto,
			"requestId":         id,
			"requestTime":       now.Format("02/Jan/2006:15:04:05 -0700"),
			"requestTimeEpoch":  now.UnixMilli(),
			"resourceId":        route.resourceID,
			"resourcePath":      route.resource,
			"stage":             stage,
		},
		"body":            text,
		"isBase64Encoded": false,
	}
}

// identity is the caller, as AWS_IAM authorization knows it. The unique id of
// its user or role is made up.
func identity(r *http.Request, keyID, caller string) object {
	a, _ := arn.Parse(caller) // if it is none, the account is empty
	unique := "AIDAEXAMPLE0123456789"
	if strings.HasPrefix(a.Resource, "assumed-role/") {
		unique = "AROAEXAMPLE0123456789:" + a.Resource[strings.LastIndex(a.Resource, "/")+1:]
	}
	return object{
		"accessKey":                     keyID,
		"accountId":                     a.AccountID,
		"caller":                        unique,
		"cognitoAuthenticationProvider": nil,
		"cognitoAuthenticationType":     nil,
		"cognitoIdentityId":             nil,
		"cognitoIdentityPoolId":         nil,
		"principalOrgId":                nil,
		"sourceIp":                      sourceIP(r),
		"user":                          unique,
		"userAgent":                     r.UserAgent(),
		"userArn":                       caller,
	}
}

// forwarded is the headers that reach the function: the caller's, without the
// signature, and those that API Gateway adds.
func forwarded(r *http.Request) http.Header {
	h := r.Header.Clone()
	for _, name := range []string{"Authorization", "Connection", "Content-Length"} {
		h.Del(name)
	}
	h.Set("Host", r.Host)
	h.Set("X-Amzn-Trace-Id", "Root=1-67891233-abcdef012345678912345678")
	h.Add("X-Forwarded-For", sourceIP(r))
	h.Set("X-Forwarded-For", strings.Join(h.Values("X-Forwarded-For"), ", "))
	h.Set("X-Forwarded-Port", "443")
	h.Set("X-Forwarded-Proto", "https")
	return h
}

func sourceIP(r *http.Request) string {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return host
}

// last is the last value of each name.
func last[M http.Header | url.Values](all M) map[string]string {
	one := make(map[string]string)
	for name, values := range all {
		if n := len(values); n > 0 {
			one[name] = values[n-1]
		}
	}
	return one
}

func orNull[M ~map[string]V, V any](m M) any {
	if len(m) == 0 {
		return nil
	}
	return m
}
