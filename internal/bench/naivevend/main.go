// Naivevend is the vend that a competent user would write in an hour.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

type token struct {
	AccessToken string    `json:"access_token"`
	TokenType   string    `json:"token_type"`
	ExpiresAt   time.Time `json:"expires_at"`
	ExpiresIn   int       `json:"expires_in"`
	BaseURL     string    `json:"base_url"`

	read time.Time
}

func main() {
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	client := secretsmanager.NewFromConfig(cfg)
	var mu sync.Mutex
	cache := make(map[string]token)

	lambda.Start(func(ctx context.Context, request events.APIGatewayProxyRequest) (events.APIGatewayProxyResponse, error) {
		tenant := request.PathParameters["tenant"]
		mu.Lock()
		defer mu.Unlock()
		t, ok := cache[tenant]
		if !ok || time.Since(t.read) > time.Minute {
			out, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{
				SecretId: aws.String(os.Getenv("C8AUTH_STACK") + "/token/" + tenant),
			})
			if err != nil {
				return events.APIGatewayProxyResponse{}, err
			}
			t = token{read: time.Now()}
			if err := json.Unmarshal([]byte(*out.SecretString), &t); err != nil {
				return events.APIGatewayProxyResponse{}, err
			}
			cache[tenant] = t
		}
		t.ExpiresIn = int(time.Until(t.ExpiresAt).Seconds())
		body, err := json.Marshal(t)
		if err != nil {
			return events.APIGatewayProxyResponse{}, err
		}
		log.Printf("vended %s to %s, %d s left", tenant, request.RequestContext.Identity.UserArn, t.ExpiresIn)
		return events.APIGatewayProxyResponse{StatusCode: 200, Headers: map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store"}, Body: string(body)}, nil
	})
}
