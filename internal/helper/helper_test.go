package helper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/prompt"
	"github.com/sealsmith/sealsmith/internal/secret"
	"github.com/sealsmith/sealsmith/internal/sockets"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "helper" {
		conn, err := Line()
		if err == nil {
			err = Serve(conn, Services{Prompter: &person{}})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	secret.OnLeak(func(size int) { panic(fmt.Sprintf("a secret of %d bytes was never wiped", size)) })
	os.Exit(m.Run())
}

// person answers by the title of the question; see the cases.
type person struct {
	mu        sync.Mutex
	asked     []prompt.Prompt
	withdrawn int
}

func (p *person) Confirm(ctx context.Context, q prompt.Prompt) error {
	p.mu.Lock()
	p.asked = append(p.asked, q)
	p.mu.Unlock()
	switch {
	case q.Title == "no":
		return prompt.ErrCancelled
	case q.Title == "nobody":
		return hint.Wrap(fmt.Errorf("%w: no display", prompt.ErrUnavailable), "install pinentry")
	case q.Title == "odd":
		return errors.New("odd")
	case q.Title == "think":
		<-ctx.Done()
		p.mu.Lock()
		p.withdrawn++
		p.mu.Unlock()
		return context.Cause(ctx)
	}
	return nil
}

func (p *person) PIN(ctx context.Context, q prompt.Prompt) (*secret.Buffer, error) {
	if err := p.Confirm(ctx, q); err != nil {
		return nil, err
	}
	return secret.Read(strings.NewReader("PIN for "+q.Title), limits.PromptPIN)
}

// pair is both sides in this process.
func pair(t *testing.T, s Services) (*Client, chan error) {
	t.Helper()
	ours, theirs := sides(t)
	served := make(chan error, 1)
	go func() { served <- Serve(theirs, s) }()
	c := NewClient(ours, func(err error) { t.Errorf("lost the helper: %v", err) })
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	return c, served
}

func sides(t *testing.T) (ours, theirs *net.UnixConn) {
	t.Helper()
	conn, file, err := sockets.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	other, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); other.Close() })
	return conn.(*net.UnixConn), other.(*net.UnixConn)
}

func TestAsk(t *testing.T) {
	p := &person{}
	c, _ := pair(t, Services{Prompter: p})
	q := prompt.Prompt{
		Title: "yes", Error: "e", Secret: "s",
		Facts:  []prompt.Line{{Label: "l", Value: "a\xffb"}, {Label: "q", Value: strings.Repeat("x", limits.HelperText), Quoted: true}},
		Claims: []prompt.Line{{Label: "c", Value: "\u202e", Quoted: true}},
	}
	if err := c.Confirm(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	q.Facts[1].Value = q.Facts[1].Value[:limits.HelperLine]
	if !reflect.DeepEqual(p.asked, []prompt.Prompt{q}) {
		t.Errorf("asked %+v", p.asked)
	}
	pin, err := c.PIN(t.Context(), prompt.Prompt{Title: "a key"})
	if err != nil {
		t.Fatal(err)
	}
	defer pin.Wipe()
	pin.Use(func(b []byte) error {
		if string(b) != "PIN for a key" {
			t.Errorf("PIN %q", b)
		}
		return nil
	})
	for _, c2 := range []struct {
		title string
		class error
		text  string
		hints int
	}{
		{"no", prompt.ErrCancelled, "cancelled", 0},
		{"nobody", prompt.ErrUnavailable, "nobody can be asked: no display", 1},
		{"odd", nil, "odd", 0},
	} {
		for kind, ask := range map[string]func() error{
			"confirm": func() error { return c.Confirm(t.Context(), prompt.Prompt{Title: c2.title}) },
			"PIN":     func() error { _, err := c.PIN(t.Context(), prompt.Prompt{Title: c2.title}); return err },
		} {
			err := ask()
			if err == nil || err.Error() != c2.text || c2.class != nil && !errors.Is(err, c2.class) || len(hint.Of(err)) != c2.hints {
				t.Errorf("%s %s: %v, hints %q", kind, c2.title, err, hint.Of(err))
			}
		}
	}
	long := prompt.Prompt{Facts: []prompt.Line{{Value: strings.Repeat("x", limits.HelperText)}}}
	if err := c.Confirm(t.Context(), long); !errors.Is(err, prompt.ErrUnavailable) {
		t.Errorf("a question that is too long: %v", err)
	}
	if err := c.Confirm(t.Context(), prompt.Prompt{Title: "yes"}); err != nil {
		t.Errorf("after that: %v", err)
	}
}

// TestWithdraw: a question that is withdrawn does not stand in the way of others.
func TestWithdraw(t *testing.T) {
	p := &person{}
	c, _ := pair(t, Services{Prompter: p})
	gone := errors.New("the client is gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	results := make(chan error)
	for range limits.Prompts {
		go func() { results <- c.Confirm(ctx, prompt.Prompt{Title: "think"}) }()
	}
	if err := c.Confirm(t.Context(), prompt.Prompt{Title: "yes"}); err != nil {
		t.Error(err)
	}
	cancel(gone)
	for range limits.Prompts {
		if err := <-results; err != gone {
			t.Errorf("%v", err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range p.asked {
		if q.Title == "think" {
			p.withdrawn--
		}
	}
	if p.withdrawn != 0 {
		t.Errorf("%d prompts are left", -p.withdrawn)
	}
	if _, err := c.PIN(ctx, prompt.Prompt{Title: "yes"}); err != gone {
		t.Errorf("after the end: %v", err)
	}
}

func TestDeadline(t *testing.T) {
	c, _ := pair(t, Services{Prompter: &person{}})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Confirm(ctx, prompt.Prompt{Title: "think"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// TestChoose: who asks can be chosen anew, and stays if the choice fails.
func TestChoose(t *testing.T) {
	chosen, failed := prompt.Nobody("it is Sunday"), error(nil)
	c, _ := pair(t, Services{Prompter: &person{}, Choose: func() (prompt.Prompter, error) { return chosen, failed }})
	if who := c.Asks(); who != errSilent.Error() {
		t.Errorf("before it said so: %q", who)
	}
	if err := errors.Join(c.Choose(t.Context(), false), c.Confirm(t.Context(), prompt.Prompt{Title: "yes"})); err != nil || c.Asks() != "a program" {
		t.Errorf("%q, %v", c.Asks(), err)
	}
	for _, anew := range []bool{true, false} {
		if err := c.Choose(t.Context(), anew); err != nil || !strings.Contains(c.Asks(), "it is Sunday") {
			t.Errorf("%q, %v", c.Asks(), err)
		}
	}
	failed = hint.Wrap(errors.New("bad configuration"), "mend it")
	if err := c.Choose(t.Context(), true); err == nil || err.Error() != "bad configuration" || len(hint.Of(err)) != 1 {
		t.Errorf("%v", err)
	}
	if err := c.Confirm(t.Context(), prompt.Prompt{Title: "yes"}); !errors.Is(err, prompt.ErrUnavailable) || !strings.Contains(c.Asks(), "it is Sunday") {
		t.Errorf("after the choice: %v, %q", err, c.Asks())
	}
	without, _ := pair(t, Services{Prompter: &person{}})
	if err := without.Choose(t.Context(), true); err == nil {
		t.Error("a choice where there is none")
	}
}

func TestChain(t *testing.T) {
	c, _ := pair(t, Services{Prompter: &person{}})
	chain, err := c.Chain(t.Context(), os.Getpid(), nil, 0)
	if err != nil || len(chain) == 0 || chain[0].PID != os.Getpid() {
		t.Errorf("%v, %v", chain, err)
	}
	if chain, err := c.Chain(t.Context(), os.Getpid(), nil, 100*365*24*time.Hour); err == nil {
		t.Errorf("a younger process: %v", chain)
	}
	// What is no descriptor of a process must not pass for one.
	if chain, err := c.Chain(t.Context(), os.Getpid(), os.Stderr, 0); err == nil {
		t.Errorf("another descriptor: %v", chain)
	}
}

// TestLostHelper has a process of its own as helper, and kills it.
func TestLostHelper(t *testing.T) {
	lost := make(chan error, 1)
	c, wait, err := Start([]string{"helper"}, os.Stderr, func(err error) { lost <- err })
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Confirm(t.Context(), prompt.Prompt{Title: "yes"}); err != nil {
		t.Fatal(err)
	}
	chain, err := c.Chain(t.Context(), os.Getpid(), nil, 0)
	if err != nil || len(chain) == 0 {
		t.Errorf("%v, %v", chain, err)
	}
	thinking := make(chan error)
	go func() { thinking <- c.Confirm(t.Context(), prompt.Prompt{Title: "think"}) }()
	time.AfterFunc(50*time.Millisecond, func() { c.line.conn.CloseWrite() }) // the helper takes it for our end
	for _, err := range []error{<-thinking, c.Confirm(t.Context(), prompt.Prompt{Title: "yes"})} {
		if !errors.Is(err, prompt.ErrUnavailable) || !strings.Contains(err.Error(), "lost its helper") || strings.Contains(err.Error(), "closed network") || len(hint.Of(err)) == 0 {
			t.Errorf("%v, hints %q", err, hint.Of(err))
		}
	}
	if err := <-lost; err == nil {
		t.Error("nobody was told")
	}
	if who := c.Asks(); !strings.Contains(who, "lost its helper") {
		t.Errorf("it asks by %q", who)
	}
	if err := errors.Join(c.Close(), wait()); err != nil {
		t.Error(err)
	}
}

// TestEnd: the helper leaves with the agent, and not by itself.
func TestEnd(t *testing.T) {
	c, wait, err := Start([]string{"helper"}, os.Stderr, func(err error) { t.Errorf("lost the helper: %v", err) })
	if err != nil {
		t.Fatal(err)
	}
	go c.Confirm(t.Context(), prompt.Prompt{Title: "think"})
	if err := errors.Join(c.Close(), wait(), c.Close()); err != nil {
		t.Error(err)
	}
}

// TestStays is a helper that hangs, for an agent that may kill it and one that may not.
func TestStays(t *testing.T) {
	ended := make(chan error, 1)
	if err := await(ended, func() error { return syscall.EPERM }, time.Millisecond); !errors.Is(err, syscall.EPERM) {
		t.Errorf("forbidden: %v", err)
	}
	killed := errors.New("killed")
	if err := await(ended, func() error { ended <- killed; return nil }, time.Millisecond); err != killed {
		t.Errorf("allowed: %v", err)
	}
}

// TestLine: whoever starts a helper by hand is told so.
func TestLine(t *testing.T) {
	for name, files := range map[string][]*os.File{"none": nil, "a file": {os.Stdin}} {
		cmd := exec.Command(os.Args[0], "helper")
		cmd.ExtraFiles = files
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "only the agent starts a helper") {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}
