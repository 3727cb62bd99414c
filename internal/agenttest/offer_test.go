package agenttest

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/sshtest"
	"github.com/sealsmith/sealsmith/internal/testenv"
)

// TestOffer has the configuration offer one key of another agent: ssh shows a server no
// other one, and those that were added here.
func TestOffer(t *testing.T) {
	t.Parallel()
	other := start(t, openSSH)
	hidden, offered := other.added("ed25519"), other.added("ecdsa-256")
	fingerprint := strings.Fields(other.must(testenv.SSHKeygen, "-l", "-f", other.path("ecdsa-256.pub")))[1]

	s := newSubject(t, ours)
	if err := os.Mkdir(s.path("config/sealsmith"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.write("config/sealsmith/config.yaml", "agents: ["+other.socket+"]\noffer: [\""+fingerprint+"\"]\n", 0o600)
	s.start()
	added := s.added("ecdsa-384")
	if got, want := s.list(), []string{offered, added}; !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}

	// Nobody is let in by a key that is not offered, even if it is asked for by name.
	s.write("hidden.pub", hidden+"\n", 0o600)
	for _, c := range []struct {
		authorized string
		options    []string
		status     int
	}{
		{hidden, nil, 255},
		{hidden, []string{"-o", "IdentitiesOnly=yes", "-i", s.path("hidden.pub")}, 255},
		{offered, nil, 0},
		{added, nil, 0},
	} {
		server := sshtest.Start(t, []byte(c.authorized))
		e := s.fails(c.status, testenv.SSH, append(append([]string{"-v"}, c.options...), append(server.Args(), "true")...)...)
		var shown []string
		for line := range strings.Lines(e.err) {
			if _, key, ok := strings.Cut(line, "debug1: Offering public key: "); ok && strings.HasSuffix(strings.TrimSpace(key), " agent") {
				shown = append(shown, strings.Fields(key[strings.LastIndex(key, "SHA256:"):])[0])
			}
		}
		if len(shown) == 0 && len(c.options) == 0 || len(shown) > 0 && shown[0] != fingerprint || len(shown) > 2 {
			t.Errorf("shown to a server that knows %.40q: %q\n%s", c.authorized, shown, e.err)
		}
	}
}
