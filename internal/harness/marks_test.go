package harness_test

// The marked secrets. They hold what changes under escaping. Those that travel in a
// header can only be ASCII.
const (
	clientSecret    = `MARK+/ü&"x<cl13nt-s3cr3t>%41=\é;:tail`
	accessKey       = `MARK+/~&"x<4cc3ss-k3y>%42=\;:tail`
	accessToken     = `MARK+/~&"x<4cc3ss-t0k3n>%43=\;:tail` // stored by hand, or issued where a case says so
	functionSecret  = `MARK+/fUnCt10nS3cr3t4cc3ssK3yEXAMPLEKEY`
	functionSession = `MARK+/fUnCt10nS3ss10n//////////wEaCmV1LWNlbnRyYWwtMSJHMEUCIQ==`
	plainSecret     = `MARKSecretOfLettersException` // could be a key, or the name of an error
	callerSecret    = `MARK+/c4ll3rS3cr3t4cc3ssK3yEXAMPLEKEYxyz`
	callerSession   = `MARK+/c4ll3rS3ss10n//////////wEaCmV1LWNlbnRyYWwtMSJHMEUCIQ==`
)

var marks = []string{clientSecret, accessKey, accessToken, functionSecret, functionSession, plainSecret, callerSecret, callerSession}
