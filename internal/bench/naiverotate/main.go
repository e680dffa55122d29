// Naiverotate is the rotate that a competent user would write in an hour: it asks for
// a new token whenever it is invoked.
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

func main() {
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	client := secretsmanager.NewFromConfig(cfg)
	stack := os.Getenv("C8AUTH_STACK")

	lambda.Start(func(ctx context.Context, event struct{ Tenant string }) (map[string]string, error) {
		out, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(stack + "/credentials/" + event.Tenant)})
		if err != nil {
			return nil, err
		}
		var credentials struct {
			BaseURL      string `json:"base_url"`
			ClientID     string `json:"client_id"`
			ClientSecret string `json:"client_secret"`
		}
		if err := json.Unmarshal([]byte(*out.SecretString), &credentials); err != nil {
			return nil, err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, credentials.BaseURL+"/int/v1/oauth/token", strings.NewReader(`{"grant_type":"client_credentials"}`))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+base64.StdEncoding.EncodeToString([]byte(credentials.ClientID+":"+credentials.ClientSecret)))
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		defer func() { _ = resp.Body.Close() }()
		var grant struct {
			AccessToken string `json:"access_token"`
			TokenType   string `json:"token_type"`
			ExpiresIn   int    `json:"expires_in"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&grant); err != nil {
			return nil, err
		}
		now := time.Now().UTC()
		value, err := json.Marshal(map[string]any{
			"base_url": credentials.BaseURL, "access_token": grant.AccessToken, "token_type": grant.TokenType,
			"issued_at": now, "expires_at": now.Add(time.Duration(grant.ExpiresIn) * time.Second),
		})
		if err != nil {
			return nil, err
		}
		if _, err := client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: aws.String(stack + "/token/" + event.Tenant), SecretString: aws.String(string(value))}); err != nil {
			return nil, err
		}
		log.Printf("rotated %s", event.Tenant)
		return map[string]string{"tenant": event.Tenant, "outcome": "rotated"}, nil
	})
}
