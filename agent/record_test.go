package agent

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	sshagent "golang.org/x/crypto/ssh/agent"

	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// TestRefusalsAreRecordedInOurWords: a request that is no request leaves one
// record, without a word of the client's choice in it.
func TestRefusalsAreRecordedInOurWords(t *testing.T) {
	h := start(t, nil)
	in := h.key(key.Spec{Name: "k", Usage: key.Artifact, Unattended: true})
	flood := strings.Repeat("A", 1<<20)
	k := &remoteKey{h.client(), in, ""}
	if _, err := k.sign(t.Context(), signRequestBody{Form: Form(flood)}); !errors.Is(err, key.ErrUsage) {
		t.Errorf("a form of a megabyte: %v", err)
	}
	if r := h.lastRecord(); r.Form != FormUnrecognised || r.Key != in.ID {
		t.Errorf("recorded %+v", r)
	}
	info, err := os.Stat(h.audit)
	if err != nil || info.Size() > 4096 {
		t.Errorf("the audit log grew to %d bytes (%v)", info.Size(), err)
	}
}

// TestUnknownKeyIsRecorded: whoever asks for a key that is not here is remembered.
func TestUnknownKeyIsRecorded(t *testing.T) {
	h := start(t, nil)
	stranger, err := keytest.Generate(t.Context(), key.Spec{Name: "s", Usage: key.SSH, Algorithm: key.P256}, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", h.ssh)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := sshagent.NewClient(conn).Sign(sshKey(t, stranger.Info()), []byte("data")); err == nil {
		t.Error("signed with a key that is not here")
	}
	if r := h.lastRecord(); r.Key != stranger.Info().ID || r.Outcome != outcomeFailed || r.Code != "not_found" {
		t.Errorf("recorded %+v", r)
	}
}

// TestSecretIsUsedUp: a creation that fails before it needs the PIN does not leave
// it waiting.
func TestSecretIsUsedUp(t *testing.T) {
	h := start(t, nil)
	h.key(key.Spec{Name: "taken", Usage: key.SSH})
	c := h.client()
	for range limits.Secrets + 1 {
		spec := key.Spec{Name: "taken", Usage: key.SSH, Algorithm: key.P256, PIN: keytest.Lend([]byte("1234"))}
		if _, err := c.Create(t.Context(), spec); !errors.Is(err, key.ErrExists) {
			t.Fatalf("create: %v; want ErrExists", err)
		}
	}
}

// TestSilentAgent: an agent that takes connections and says nothing does not hold
// its clients for ever.
func TestSilentAgent(t *testing.T) {
	h := start(t, nil)
	listener, err := net.Listen("unix", h.control+".silent")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if _, err := dial(t.Context(), h.control+".silent", 50*time.Millisecond); !errors.Is(err, key.ErrBusy) {
		t.Errorf("silent agent: %v; want ErrBusy", err)
	}
}
