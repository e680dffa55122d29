package smtest

// What a person does in the console. The methods take names only, and panic where AWS
// would refuse, because then the test is wrong.

import (
	"cmp"
	"fmt"
	"time"
)

// Create makes a secret as CloudFormation does: without any version.
func (s *Server) Create(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	allow(s.secrets[name] == nil, "make", name)
	s.add(name)
}

// Put stores the value as a new version, makes that AWSCURRENT, and returns its
// id. It creates the secret if there is none.
func (s *Server) Put(name, text string) (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.secrets[name] == nil {
		s.add(name)
	}
	on := s.secrets[name]
	allow(on.deleted.IsZero() && text != "" && on.prune(time.Now()), "write", name)
	return on.put(uuid(on.arn, on.written), value{data: text}, []string{current}).id
}

// Rotate leaves what a RotateSecret leaves whose function failed: an empty version under
// AWSPENDING. It returns the version's id.
func (s *Server) Rotate(name string) (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	on := s.secrets[name]
	allow(on != nil && on.deleted.IsZero() && on.labels[pending] == nil && on.prune(time.Now()), "rotate", name)
	return on.put(uuid(on.arn, on.written), value{}, []string{pending}).id
}

// Value returns what is AWSCURRENT, or nothing if there is none.
func (s *Server) Value(name string) (text, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := cmp.Or(s.look(name).labels[current], &version{})
	return v.value.data, v.id
}

// Version returns a version and its labels, or nothing if there is none.
func (s *Server) Version(name, id string) (text string, stages []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	on := s.look(name)
	v := cmp.Or(on.version(id), &version{})
	return v.value.data, on.stages(v)
}

// Versions returns how many versions there are, deprecated ones among them.
func (s *Server) Versions(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.look(name).versions)
}

// Room returns how many more versions the quota leaves room for.
func (s *Server) Room(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	on, room := s.look(name), maxVersions
	for _, v := range on.versions {
		if !on.removable(v, time.Now()) {
			room--
		}
	}
	return room
}

// Move attaches the label to the version, wherever it was before.
func (s *Server) Move(name, stage, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	on := s.look(name)
	allow(on.version(id) != nil, "move a label of", name)
	on.move(stage, on.version(id))
}

// Delete schedules the secret for deletion in 30 days.
func (s *Server) Delete(name string) { s.schedule(name, time.Now().AddDate(0, 0, 30)) }

// Restore undoes Delete.
func (s *Server) Restore(name string) { s.schedule(name, time.Time{}) }

// Destroy removes the secret at once, if there is one.
func (s *Server) Destroy(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.secrets, name)
}

// Calls returns how many requests for the operation there were, or for any if
// it is empty. Requests that failed count too.
func (s *Server) Calls(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if op == "" {
		return s.total
	}
	return s.calls[op]
}

func (s *Server) schedule(name string, deleted time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	on := s.secrets[name]
	allow(on != nil, "schedule", name)
	on.deleted, on.changed = deleted, time.Now()
}

func allow(ok bool, what, name string) {
	if !ok {
		panic(fmt.Sprintf("smtest: AWS would refuse to %s the secret %q", what, name))
	}
}

// look returns the secret, or an empty one if there is none.
func (s *Server) look(name string) *secret {
	return cmp.Or(s.secrets[name], &secret{})
}
