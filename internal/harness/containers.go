package harness

// The fakes without the functions, for those that `sam local` runs in containers.

import "encoding/json"

// Host is this machine's name within a container. Docker Desktop knows it by itself;
// on Linux, --add-host host.docker.internal:host-gateway makes it known.
const Host = "host.docker.internal"

// StartForContainers starts the fakes of Communic8 and Secrets Manager, on every address of
// this machine, as a container does not reach its loopback. The URLs are those for
// containers. The tenant default has its two secrets, both empty. There is neither a
// function nor a gateway.
func StartForContainers(ports Ports) (*Stack, error) { return start("", Host, ports) }

// EnvVars returns the file for `sam local --env-vars` by which the functions use that Secrets
// Manager. SAM passes on only what the template declares.
func EnvVars(secretsURL string) ([]byte, error) {
	return json.MarshalIndent(map[string]map[string]string{"Parameters": {
		"C8AUTH_STACK":                     Name,
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": secretsURL,
	}}, "", "  ")
}
