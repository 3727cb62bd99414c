package agent

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/sshwire"
)

// wireHop is a hop as a client sends it.
func wireHop(user, host, reserved string, keys ...hopKey) []byte {
	b := packed(user, host, reserved)
	for _, k := range keys {
		b = append(b, packed(k.blob)...)
		if k.ca {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	}
	return b
}

// restrict is the constraint that allows the destinations.
func restrict(all ...destination) []byte {
	var details []byte
	for _, d := range all {
		details = append(details, packed(packed(
			wireHop(d.from.user, d.from.host, "", d.from.keys...), wireHop(d.to.user, d.to.host, "", d.to.keys...), ""))...)
	}
	return append([]byte{constrainExtension}, packed(constraintDestinations, details)...)
}

func TestParseConstraints(t *testing.T) {
	a, b := hopKey{[]byte("key a"), false}, hopKey{[]byte("key b"), true}
	want := constraints{time.Hour, true, destinations{
		{to: hop{host: "a", keys: []hopKey{a}}},
		{from: hop{host: "a", keys: []hopKey{a}}, to: hop{user: "me*", host: "b", keys: []hopKey{a, b}}},
	}}
	data := slices.Concat(restrict(want.destinations...), []byte{2}, []byte{1, 0, 0, 0x0e, 0x10})
	got, err := parseConstraints(data)
	if err != nil {
		t.Fatal(err)
	}
	if got.lifetime != want.lifetime || !got.confirm || !bytes.Equal(restrict(got.destinations...), restrict(want.destinations...)) {
		t.Errorf("got %+v", got)
	}
	if got, err := parseConstraints(nil); err != nil || got.destinations != nil || got.confirm || got.lifetime != 0 {
		t.Errorf("none: %+v, %v", got, err)
	}
	one := wireHop("", "a", "", a)
	details := func(constraint []byte) []byte {
		return append([]byte{constrainExtension}, packed(constraintDestinations, packed(constraint))...)
	}
	for _, c := range []struct {
		name, err string
		data      []byte
	}{
		{"unknown number", "unknown constraint 3", []byte{3}},
		{"maximum of signatures, an old draft", "unknown constraint 3", []byte{3, 0, 0, 0, 1}},
		{"lifetime twice", "two constraints", []byte{1, 0, 0, 0, 1, 1, 0, 0, 0, 1}},
		{"confirm twice", "two constraints", []byte{2, 2}},
		{"destinations twice", "two constraints", slices.Concat(restrict(want.destinations...), restrict(want.destinations...))},
		{"lifetime cut", "lifetime", []byte{1, 0, 0, 0}},
		{"lifetime of nothing", "nothing", []byte{1, 0, 0, 0, 0}},
		{"extension without a name", "constraint", []byte{255}},
		{"extension without details", "constraint", append([]byte{255}, packed("x@example.org")...)},
		{"unknown extension", "unknown constraint", append([]byte{255}, packed("x@example.org", "")...)},
		{"provider for a key of ours", "unknown constraint", append([]byte{255}, packed("sk-provider@openssh.com", "internal")...)},
		{"certificates of a token", "unknown constraint", append([]byte{255}, packed("associated-certs-v00@openssh.com", "")...)},
		{"no destination", "no destination", restrict()},
		{"more behind the hops", "destination 1", details(packed(wireHop("", "", ""), one, "", "x"))},
		{"reserved of the constraint", "reserved", details(packed(wireHop("", "", ""), one, "x"))},
		{"reserved of from", "reserved", details(packed(wireHop("", "", "x"), one, ""))},
		{"reserved of to", "reserved", details(packed(wireHop("", "", ""), wireHop("", "a", "x", a), ""))},
		{"from a user", "from a user", details(packed(wireHop("me", "a", "", a), one, ""))},
		{"from a user here", "from a user", details(packed(wireHop("me", "", ""), one, ""))},
		{"from a host without keys", "from a host", details(packed(wireHop("", "a", ""), one, ""))},
		{"from keys without a host", "from a host", details(packed(wireHop("", "", "", a), one, ""))},
		{"to nowhere", "to no host", details(packed(wireHop("", "", ""), wireHop("", "", ""), ""))},
		{"to a host without keys", "to no host", details(packed(wireHop("", "", ""), wireHop("", "a", ""), ""))},
		{"to keys without a host", "to no host", details(packed(wireHop("", "", ""), wireHop("", "", "", a), ""))},
		{"empty key", "empty key", details(packed(wireHop("", "", ""), wireHop("", "a", "", hopKey{nil, true}), ""))},
		{"key without its kind", "key", details(packed(wireHop("", "", ""), slices.Concat(wireHop("", "a", ""), packed("k")), ""))},
		{"long user", "user of", details(packed(wireHop("", "", ""), wireHop(strings.Repeat("x", limits.HopText+1), "a", "", a), ""))},
		{"long host", "host of", details(packed(wireHop("", "", ""), wireHop("", strings.Repeat("x", limits.HopText+1), "", a), ""))},
		{"too many", "more than", restrict(slices.Repeat(want.destinations[:1], limits.Destinations+1)...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseConstraints(c.data)
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %+v, %v; want %q", got, err, c.err)
			}
		})
	}
	for i := 1; i < len(data); i++ {
		got, err := parseConstraints(data[:i])
		if err == nil && i != len(data)-5 && i != len(data)-6 { // between two of them
			t.Errorf("cut to %d of %d bytes: %+v", i, len(data), got)
		}
	}
}

// FuzzConstraints checks that what is accepted means what it says: encoded again, it
// is read as the same, and it permits nothing to a connection that could not be bound.
func FuzzConstraints(f *testing.F) {
	a := hopKey{[]byte("a"), false}
	to := hop{user: "me", host: "a", keys: []hopKey{a, {[]byte("b"), true}}}
	f.Add(slices.Concat(restrict(destination{to: to}, destination{from: hop{host: "a", keys: []hopKey{a}}, to: to}), []byte{2, 1, 0, 0, 0, 9}))
	f.Add([]byte{255})
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConstraints(bytes.Clone(data))
		if err != nil || c.destinations == nil {
			return
		}
		wire := restrict(c.destinations...)
		again, err := parseConstraints(wire)
		if err != nil || !bytes.Equal(restrict(again.destinations...), wire) {
			t.Fatalf("%+v is read as %+v, %v", c, again, err)
		}
		if _, ok := c.destinations.permits(session{nil, true}, nil); ok {
			t.Fatal("seen where a bind failed")
		}
		if _, err := c.destinations.permitsLogin(session{}, &sshwire.UserAuth{}); err == nil {
			t.Fatal("signs for a connection that is not bound")
		}
	})
}
