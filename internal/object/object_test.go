package object

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// An object says to encoding/json what was put into it, in one line.
func FuzzObject(f *testing.F) {
	f.Add("name", "value", int64(-1), 1.5, true, int64(0))
	f.Add("", "\"\\\n\x00\u2028\xff</script>", int64(math.MaxInt64), 1e300, false, int64(1767323107042))
	f.Fuzz(func(t *testing.T, name, value string, whole int64, number float64, truth bool, unix int64) {
		if math.IsNaN(number) || math.IsInf(number, 0) {
			return
		}
		at := time.Unix(unix%253402300800, whole&0x3fffffff%1000000000).UTC() // until the year 10000
		if at.Year() < 0 {
			return
		}
		var o Object
		for range 2 {
			o.Reset()
			o.Text("text "+name, value)
			o.Int("int "+name, whole)
			o.Float("float", number)
			o.Bool("bool", truth)
			o.Time("time", at)
			o.JSON("json", []byte(`{"a":[null]}`))
			_ = o.Bytes() // after which there may be more
			o.Text("last", "")
		}
		var got struct {
			Float float64
			Bool  bool
			Time  time.Time
			JSON  struct{ A []any }
			Last  *string
		}
		if err := json.Unmarshal(o.Bytes(), &got); err != nil {
			t.Fatalf("%v: %s", err, o.Bytes())
		}
		if got.Float != number || got.Bool != truth || !got.Time.Equal(at) || len(got.JSON.A) != 1 || got.Last == nil {
			t.Errorf("%s", o.Bytes())
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(o.Bytes(), &members); err != nil {
			t.Fatal(err)
		}
		plain, err := json.Marshal(map[string]any{"text " + name: value, "int " + name: whole})
		if err != nil {
			t.Fatal(err)
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(plain, &want); err != nil {
			t.Fatal(err)
		}
		for name, raw := range want {
			if diff := cmp.Diff(decode(t, raw), decode(t, members[name])); diff != "" {
				t.Errorf("%q: %s", name, diff)
			}
		}
		if len(members) != 7 || strings.Contains(string(o.Bytes()), "\n") {
			t.Errorf("%s", o.Bytes())
		}
	})
}

func decode(t *testing.T, raw json.RawMessage) (value any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		t.Fatalf("%v: %q", err, raw)
	}
	return value
}
