// Hello is the least that a function behind API Gateway can be with aws-lambda-go:
// the handler of AWS's own template. It is what speed is measured against.
package main

import (
	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	lambda.Start(func(request events.APIGatewayProxyRequest) (events.APIGatewayProxyResponse, error) {
		return events.APIGatewayProxyResponse{StatusCode: 200, Body: "Hello, " + request.RequestContext.Identity.SourceIP + "!\n"}, nil
	})
}
