package awstest

// The protocols, each to and from the same plain values.

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/smithy-go/encoding/cbor"
)

// object is a structure of AWS's model. Its members are strings, ints, lists ([]any),
// objects and attributes.
type object = map[string]any

// attributes is a map of AWS's model, in XML.
type attributes map[string]string

// failure is an error of a service.
type failure struct {
	status  int
	kind    string
	message string
}

// protocol is how a service is spoken to.
type protocol struct {
	prefix string // of its actions in IAM
	read   func(r *http.Request, body []byte) (operation string, in object)
	write  func(w http.ResponseWriter, operation string, out object)
	fail   func(w http.ResponseWriter, failed *failure)
}

// protocols are those of the services, by their names in signatures.
var protocols = map[string]protocol{
	"cloudformation": {"cloudformation", readQuery, writeXML, failXML},
	"iam":            {"iam", readQuery, writeXML, failXML},
	"lambda":         {"lambda", readREST, writeJSON, failJSON},
	"logs":           {"logs", readJSON, writeJSON, failJSON},
	"monitoring":     {"cloudwatch", readCBOR, writeCBOR, failCBOR},
	"scheduler":      {"scheduler", readREST, writeJSON, failJSON},
	"secretsmanager": {"secretsmanager", readJSON, nil, failJSON}, // Secrets answers
	"sns":            {"sns", readQuery, writeXML, failSNS},
	"sqs":            {"sqs", readJSON, writeJSON, failJSON},
	"sts":            {"sts", readQuery, writeXML, failXML},
}

// The query protocol: a form in, XML out. A list's members are numbered, "ActionNames.member.1".
func readQuery(_ *http.Request, body []byte) (string, object) {
	form, _ := url.ParseQuery(string(body)) // what can be read of it
	in := make(object)
	for key, values := range form {
		in[key] = values[0]
	}
	return form.Get("Action"), in
}

func writeXML(w http.ResponseWriter, operation string, out object) {
	w.Header().Set("Content-Type", "text/xml")
	encodeXML(w, object{operation + "Response": object{operation + "Result": out}})
}

func failXML(w http.ResponseWriter, f *failure) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(f.status)
	code := strings.TrimSuffix(f.kind, "Exception")
	if code == "UnrecognizedClient" {
		code = "InvalidClientTokenId"
	}
	encodeXML(w, object{"ErrorResponse": object{"Error": object{"Code": code, "Message": f.message}}})
}

// failSNS differs in what SNS calls a denial.
func failSNS(w http.ResponseWriter, f *failure) {
	if f.kind == "AccessDeniedException" {
		f = &failure{f.status, "AuthorizationError", f.message}
	}
	failXML(w, f)
}

// encodeXML ignores failures to write: a client that is gone needs no answer.
func encodeXML(w io.Writer, v any) {
	switch v := v.(type) {
	case object:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			_, _ = fmt.Fprintf(w, "<%s>", name)
			encodeXML(w, v[name])
			_, _ = fmt.Fprintf(w, "</%s>", name)
		}
	case []any:
		for _, member := range v {
			encodeXML(w, object{"member": member})
		}
	case attributes:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			encodeXML(w, object{"entry": object{"key": name, "value": v[name]}})
		}
	default:
		_ = xml.EscapeText(w, fmt.Append(nil, v))
	}
}

// JSON 1.0 and 1.1, which differ in name only.
func readJSON(r *http.Request, body []byte) (string, object) {
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	in := make(object)
	_ = json.Unmarshal(body, &in) // what can be read of it
	return operation, in
}

// REST and JSON, where the operation is in method and path.
func readREST(r *http.Request, body []byte) (operation string, in object) {
	in = make(object)
	for key, values := range r.URL.Query() {
		in[key] = values[0]
	}
	path := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case r.URL.Path == "/schedules":
		return "ListSchedules", in
	case len(path) == 4 && path[1] == "functions" && path[3] == "configuration":
		in["FunctionName"] = path[2]
		return "GetFunctionConfiguration", in
	case len(path) == 4 && path[1] == "functions" && path[3] == "invocations":
		in["FunctionName"], in["Payload"] = path[2], body
		return "InvokeFunction", in // as IAM has it
	}
	return r.Method + " " + r.URL.Path, in
}

// writeJSON also writes the answer of a function as it is.
func writeJSON(w http.ResponseWriter, operation string, out object) {
	if operation == "InvokeFunction" {
		if failed, ok := out["FunctionError"].(string); ok {
			w.Header().Set("X-Amz-Function-Error", failed)
		}
		_, _ = w.Write(out["Payload"].([]byte))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out) // a client that is gone needs no answer
}

func failJSON(w http.ResponseWriter, f *failure) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-ErrorType", f.kind)
	w.WriteHeader(f.status)
	_ = json.NewEncoder(w).Encode(object{"__type": f.kind, "message": f.message})
}

// Smithy's RPC protocol, version 2, in CBOR. Of a request it keeps the members that are strings.
func readCBOR(r *http.Request, body []byte) (string, object) {
	in := make(object)
	v, _ := cbor.Decode(body)
	members, _ := v.(cbor.Map) // what can be read of it
	for name, member := range members {
		if text, ok := member.(cbor.String); ok {
			in[name] = string(text)
		}
	}
	return r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:], in
}

func writeCBOR(w http.ResponseWriter, _ string, out object) { sendCBOR(w, http.StatusOK, out) }

func failCBOR(w http.ResponseWriter, f *failure) {
	sendCBOR(w, f.status, object{"__type": f.kind, "message": f.message})
}

func sendCBOR(w http.ResponseWriter, status int, out object) {
	w.Header().Set("Content-Type", "application/cbor")
	w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	w.WriteHeader(status)
	_, _ = w.Write(cbor.Encode(toCBOR(out)))
}

func toCBOR(v any) cbor.Value {
	switch v := v.(type) {
	case object:
		out := make(cbor.Map)
		for name, member := range v {
			out[name] = toCBOR(member)
		}
		return out
	case []any:
		out := make(cbor.List, len(v))
		for i, member := range v {
			out[i] = toCBOR(member)
		}
		return out
	}
	return cbor.String(fmt.Sprint(v))
}
