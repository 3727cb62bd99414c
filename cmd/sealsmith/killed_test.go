package main

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// killing is a user's folders with a TPM that outlives our programs, in which the
// key "safe" has the PIN pin.
type killing struct {
	*world
	chip *tpmtest.TPM
	pin  string
	next int
}

func newKilling(t *testing.T) *killing {
	t.Helper()
	w := &killing{world: newWorld(t), chip: tpmtest.Start(t), pin: "PIN 0"}
	w.env = append(w.env, "SEALSMITH_TPM="+w.chip.Device())
	if _, err := w.try(w.pin+"\n", "sealsmith", "key", "create", "safe", "--usage", "ssh", "--pin-fd", "0"); err != nil {
		t.Fatal(err)
	}
	return w
}

// killed is a command that is killed.
type killed struct {
	args  []string
	stdin func(*killing) string
	last  tpm2.TPMCC // after which the files are written
	skip  int        // how many such commands come before
}

var killedCommands = map[string]killed{
	"create": {[]string{"key", "create", "new", "--usage", "ssh"}, func(*killing) string { return "" }, tpm2.TPMCCCreate, 0},
	"change": {[]string{"key", "pin", "safe", "--pin-fd", "0", "--new-pin-fd", "0"}, func(w *killing) string {
		w.next++
		return fmt.Sprintf("%s\nPIN %d\n", w.pin, w.next)
	}, tpm2.TPMCCLoad, 1},
}

// interrupt runs a command and kills it when the fault comes, or a time after that.
// It returns whether that came to pass.
func (w *killing) interrupt(k killed, f tpmtest.Fault, delay time.Duration) (wasKilled bool) {
	w.t.Helper()
	before := w.run("cat", "data/sealsmith/keys/safe.tpm")
	cmd := exec.Command("sealsmith", k.args...)
	cmd.Dir, cmd.Env, cmd.Stdin = w.dir, w.env, strings.NewReader(k.stdin(w))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	started := make(chan struct{})
	f.Then = func() {
		<-started
		time.AfterFunc(delay, func() { cmd.Process.Kill() })
	}
	if delay == 0 {
		f.Then = func() { <-started; cmd.Process.Kill() }
	}
	w.chip.Inject(f)
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	close(started)
	err := cmd.Wait()
	w.chip.Calm()
	if ended, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || ended.ExitCode() != -1) {
		w.t.Errorf("%q was not killed but failed: %v: %s", k.args, err, stderr.String())
	}
	if w.run("cat", "data/sealsmith/keys/safe.tpm") != before {
		w.pin = fmt.Sprintf("PIN %d", w.next)
	}
	return err != nil
}

// check fails the test unless every key is whole and signs, with the PIN that its
// file has, and a new key can be made; it leaves the folder as it should be.
func (w *killing) check(what string) {
	w.t.Helper()
	b, err := tpm.New(w.chip.Open(), tpm.Config{
		Dir:  w.path("data/sealsmith/keys"),
		Auth: func(_ context.Context, _ key.AuthRequest, use func([]byte) error) error { return use([]byte(w.pin)) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	defer b.Close()
	seen := 0
	for s, err := range b.Keys(w.t.Context()) {
		if err != nil {
			w.t.Fatalf("%s: %v", what, err)
		}
		if _, err := s.SignContext(w.t.Context(), make([]byte, 32), crypto.SHA256); err != nil {
			w.t.Errorf("%s: sign with %s: %v", what, s.Info().Ref, err)
		}
		seen++
	}
	if seen == 0 || seen > 2 {
		w.t.Errorf("%s: %d keys", what, seen)
	}
	if seen == 1 { // else create came to its end
		if _, err := b.Create(w.t.Context(), key.Spec{Name: "new", Usage: key.SSH, Algorithm: key.P256}); err != nil {
			w.t.Errorf("%s: create: %v", what, err)
		}
	}
	if err := b.Delete(w.t.Context(), key.Ref{Name: "new"}); err != nil {
		w.t.Errorf("%s: delete: %v", what, err)
	}
	entries, err := os.ReadDir(w.path("data/sealsmith/keys"))
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{".lock", "safe.json", "safe.pub", "safe.tpm"}; !slices.Equal(names, want) {
		w.t.Errorf("%s: the folder holds %q", what, names)
	}
}

// TestKilledAtEachCommand kills our program when the TPM gets each of its commands,
// before and after that was carried out. At the end of the test nothing is loaded in
// the TPM and it has counted nothing.
func TestKilledAtEachCommand(t *testing.T) {
	for name, k := range killedCommands {
		for side, kind := range map[string]tpmtest.Kind{"before": tpmtest.FailBefore, "after": tpmtest.FailAfter} {
			t.Run(name+"/"+side, func(t *testing.T) {
				t.Parallel()
				w := newKilling(t)
				n := 0
				for w.interrupt(k, tpmtest.Fault{Kind: kind, Skip: n}, 0) {
					w.check(fmt.Sprintf("killed at command %d", n+1))
					n++
				}
				if n < 8 {
					t.Errorf("killed at %d commands only", n)
				}
				w.check("not killed")
			})
		}
	}
}

// TestKilledWhileItWrites kills our program at some moments while the files are
// written, after the last command that they depend on.
func TestKilledWhileItWrites(t *testing.T) {
	for name, k := range killedCommands {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newKilling(t)
			n := 0
			for delay := range 12 {
				f := tpmtest.Fault{On: k.last, Skip: k.skip, Kind: tpmtest.Split}
				if w.interrupt(k, f, time.Duration(delay+1)*250*time.Microsecond) {
					n++
				}
				w.check(fmt.Sprintf("killed after %d quarters of a millisecond", delay+1))
			}
			if n == 0 {
				t.Error("it was never killed")
			}
		})
	}
}

// TestAgentSurvivesItsTPM kills the TPM under an agent with four busy clients. When
// it is back all of them sign within a second, and nobody did anything about it.
func TestAgentSurvivesItsTPM(t *testing.T) {
	w := newKilling(t)
	w.run("sealsmith", "key", "create", "busy", "--usage", "artifact", "--unattended")
	w.startAgent()
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer wg.Wait()
	defer cancel()
	signed := make([]atomic.Int64, 4)
	for i := range signed {
		c, err := agent.Dial(ctx, w.path("run/sealsmith/control.sock"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		k, err := c.Key(ctx, key.Ref{Name: "busy"}, "")
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for ctx.Err() == nil {
				_, err := k.SignBlob(ctx, []byte("message"))
				switch {
				case err == nil:
					signed[i].Add(1)
				case ctx.Err() == nil && !errors.Is(err, key.ErrNoDevice):
					t.Errorf("client %d: %v", i, err)
				}
			}
		})
	}
	allSign := func() time.Duration {
		start := time.Now()
		for i := range signed {
			for before := signed[i].Load(); signed[i].Load() == before; time.Sleep(time.Millisecond) {
				if time.Since(start) > 30*time.Second {
					t.Fatalf("client %d signs no more", i)
				}
			}
		}
		return time.Since(start)
	}
	allSign()
	for range 3 {
		w.chip.Kill()
		time.Sleep(20 * time.Millisecond)
		w.chip.Restart()
		if took := allSign(); took > time.Second {
			t.Errorf("all sign again after %v", took)
		}
	}
}
