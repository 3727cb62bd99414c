package agent

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/sockets"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/key"
)

// fake is an upstream that answers each connection as a test wants.
func fake(t *testing.T, serve func(net.Conn)) Upstream {
	t.Helper()
	path := filepath.Join(testenv.SocketDir(t), "s")
	l, err := sockets.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); serve(c) }()
		}
	}()
	return Upstream{Path: path}
}

// answers is an upstream that lists a key and answers requests to sign.
func answers(t *testing.T, list, signature []byte) Upstream {
	return fake(t, func(c net.Conn) {
		r := newFrameReader(c, newBudget(1<<20))
		for {
			f, err := r.next(context.Background())
			if err != nil {
				return
			}
			answer := list
			if f.kind == agentSignRequest {
				answer = signature
			}
			if writeFrame(c, answer) != nil {
				return
			}
		}
	})
}

// listOf is an answer with one key, n times.
func listOf(n uint32, blob []byte, comment string) []byte {
	all := ssh.Marshal(struct {
		Count uint32 `sshtype:"12"`
	}{n})
	for range n {
		all = append(all, packed(blob, comment)...)
	}
	return all
}

func TestUpstreamHostile(t *testing.T) {
	k := softKeys()[0].signer
	blob := k.PublicKey().Marshal()
	good := listOf(1, blob, "k")
	for name, list := range map[string][]byte{
		"no list": {agentSuccess}, "failure": {agentFailure}, "cut": good[:len(good)-1], "longer": append(slices.Clone(good), 0),
		"endless": listOf(limits.UpstreamKeys+1, blob, ""), "lying count": {agentIdentitiesAnswer, 255, 255, 255, 255},
		"no count": {agentIdentitiesAnswer}, "empty key": listOf(1, nil, "k"), "no frame": nil, "huge frame": make([]byte, limits.AgentFrame+1),
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, with(answers(t, list, nil)))
			h.key(key.Spec{Name: "own", Usage: key.SSH})
			client, _ := h.dialSSH()
			if got := h.list(client); !slices.Equal(got, []string{"own"}) || !strings.Contains(h.logs.String(), "its keys are left out") {
				t.Errorf("listed %q", got)
			}
		})
	}
	signature := func(format string, size int) []byte {
		return ssh.Marshal(signResponse{Signature: packed(format, make([]byte, size))})
	}
	for name, answer := range map[string][]byte{
		"refused": {agentFailure}, "success": {agentSuccess}, "nothing": {agentSignResponse}, "of another kind": signature("ssh-rsa", 64),
		"too long": signature("ssh-ed25519", limits.UpstreamSignature), "longer": append(signature("ssh-ed25519", 64), 0), "empty": ssh.Marshal(signResponse{}),
	} {
		t.Run("signature "+name, func(t *testing.T) {
			h := start(t, with(answers(t, good, answer)))
			client, _ := h.dialSSH()
			if s, err := client.Sign(k.PublicKey(), []byte("x")); err == nil || h.lastRecord().Outcome == outcomeDone {
				t.Errorf("got %v, audit %+v", s, h.lastRecord())
			}
		})
	}
}

// TestUpstreamSilent: one that never answers delays one list, not each, and neither
// hides the other upstream nor outlives the client.
func TestUpstreamSilent(t *testing.T) {
	ended := make(chan struct{}, 8)
	silent := fake(t, func(c net.Conn) {
		for b := make([]byte, 64); ; {
			if _, err := c.Read(b); err != nil {
				ended <- struct{}{}
				return
			}
		}
	})
	h := start(t, with(silent, answers(t, listOf(1, softKeys()[0].signer.PublicKey().Marshal(), strings.Repeat("k", 300)), nil)))
	client, _ := h.dialSSH()
	for i := range 2 {
		begun := time.Now()
		if got := h.list(client); len(got) != 1 || len(got[0]) != limits.UpstreamComment {
			t.Errorf("listed %q", got)
		}
		if took := time.Since(begun); (took >= limits.UpstreamTime) != (i == 0) {
			t.Errorf("list %d took %v", i, took)
		}
	}
	<-ended
}

// TestUpstreamLocked: the agent is locked while an upstream is asked for its keys.
func TestUpstreamLocked(t *testing.T) {
	k := softKeys()[0].signer.PublicKey()
	var h *harness
	var signs atomic.Int32
	h = start(t, with(fake(t, func(c net.Conn) {
		r := newFrameReader(c, newBudget(1<<20))
		for {
			f, err := r.next(context.Background())
			if err != nil {
				return
			}
			if f.kind == agentSignRequest {
				signs.Add(1)
			} else if err := h.server.Lock([]byte("p")); err != nil {
				t.Error(err)
			}
			writeFrame(c, listOf(1, k.Marshal(), "their key"))
		}
	})))
	client, _ := h.dialSSH()
	if _, err := client.Sign(k, []byte("x")); err == nil || signs.Load() != 0 {
		t.Errorf("asked to sign %d times, %v", signs.Load(), err)
	}
	if r := h.lastRecord(); r.Action != "sign" || r.Code != "locked" {
		t.Errorf("audit %+v", r)
	}
}

// TestUpstreamLoop: agents that name each other answer all the same.
func TestUpstreamLoop(t *testing.T) {
	dir := testenv.SocketDir(t)
	to := func(name string) func(*Config) { return with(Upstream{Path: filepath.Join(dir, name)}) }
	one, other := start(t, to("other")), start(t, to("one"))
	for name, h := range map[string]*harness{"one": one, "other": other} {
		h.key(key.Spec{Name: name, Usage: key.SSH})
		if err := os.Symlink(h.ssh, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	client, _ := one.dialSSH()
	begun := time.Now()
	if got := one.list(client); len(got) == 0 || got[0] != "one" {
		t.Errorf("listed %q", got)
	}
	if took := time.Since(begun); took > 2*limits.UpstreamTime {
		t.Errorf("it took %v", took)
	}
	in, err := other.backend.Create(t.Context(), key.Spec{Name: "more", Usage: key.SSH, Algorithm: key.P256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Sign(sshKey(t, in.Info()), sshsigData(t, "git")); err != nil {
		t.Log("not signed:", err) // or it is: a loop is a mistake
	}
	for _, h := range []*harness{one, other} {
		fresh, _ := h.dialSSH()
		if got := h.list(fresh); len(got) == 0 {
			t.Error("an agent no longer answers")
		}
	}
}

// TestUpstreamBinds: an upstream gets every proof that bound the client, in its order and
// again when it comes back, and learns of one that failed.
func TestUpstreamBinds(t *testing.T) {
	messages := make(chan string, 16)
	h := start(t, with(fake(t, func(c net.Conn) {
		r := newFrameReader(c, newBudget(1<<20))
		for {
			f, err := r.next(context.Background())
			if err != nil {
				return
			}
			messages <- string(f.body)
			answer := []byte{agentSuccess}
			if f.kind == agentRequestIdentities {
				answer = listOf(0, nil, "")
			}
			if writeFrame(c, answer) != nil || f.kind == agentRequestIdentities {
				return // so that each list is another connection
			}
		}
	})))
	want := func(all ...string) {
		t.Helper()
		for _, one := range all {
			if got := <-messages; got != one {
				t.Errorf("the upstream got %q; want %q", got, one)
			}
		}
	}
	message := func(contents []byte) string { return string(packed(extensionBind)) + string(contents) }
	client, _ := h.dialSSH()
	h.list(client)
	want("")
	client.Extension(extensionBind, []byte("bad"))
	h.list(client)
	want(message(nil), "")
	first, second := newHost(t).bind(t, []byte("one"), true), newHost(t).bind(t, []byte("two"), false)
	for _, contents := range [][]byte{first, first, second} {
		if _, err := client.Extension(extensionBind, contents); err != nil {
			t.Fatal(err)
		}
	}
	h.list(client)
	want(message(first), message(second), "")
	if _, err := client.Extension(extensionBind, make([]byte, limits.SSHBind+1)); err == nil {
		t.Error("a huge bind succeeded")
	}
}

func FuzzUpstreamAnswer(f *testing.F) {
	blob := newEd25519(f).Public()
	k, err := ssh.NewPublicKey(blob)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(listOf(2, k.Marshal(), "comment"))
	f.Add(ssh.Marshal(signResponse{Signature: packed("ssh-ed25519", make([]byte, 64))}))
	f.Fuzz(func(t *testing.T, answer []byte) {
		if len(answer) == 0 {
			return
		}
		one := frame{kind: answer[0], body: answer[1:]}
		if s, err := parseSignature(one, ssh.KeyAlgoED25519); err == nil && !bytes.Contains(answer, s) {
			t.Fatal("a signature out of nothing")
		}
		all, err := parseIdentities(one)
		if err != nil {
			return
		}
		size := 0
		for _, i := range all {
			size += len(i.Blob)
			if in := upstreamKey(i.Blob); in.Ref.Name == "" {
				t.Fatal("a key without a name")
			}
		}
		if size > len(answer) || len(all) > limits.UpstreamKeys {
			t.Fatalf("%d keys of %d bytes out of %d", len(all), size, len(answer))
		}
	})
}
