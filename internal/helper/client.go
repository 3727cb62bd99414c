package helper

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/peercred"
	"github.com/sealsmith/sealsmith/internal/prompt"
	"github.com/sealsmith/sealsmith/internal/secret"
)

// Client has a helper do what the agent cannot. It is safe for concurrent use.
type Client struct {
	line line
	gone chan struct{} // closed when the line has ended

	mu      sync.Mutex
	last    uint32
	waiting map[uint32]chan message // with room for the answer; nil: nobody waits for it any more
	closing bool
	err     error  // why the line has ended
	who     string // asks people, as the helper said last

	choosing sync.Mutex // one at a time
}

var _ prompt.Prompter = (*Client)(nil)

// errSilent is the error of what does not wait for people.
var errSilent = hint.Wrap(errors.New("the agent's helper does not answer"), "restart the agent")

// NewClient speaks to the helper at the other end of conn, which it closes in the
// end. lost is called, once, if the helper leaves before [Client.Close].
func NewClient(conn *net.UnixConn, lost func(error)) *Client {
	c := &Client{line: line{conn: conn}, gone: make(chan struct{}), waiting: map[uint32]chan message{}}
	go c.receive(lost)
	return c
}

// receive hands answers out until the line ends.
func (c *Client) receive(lost func(error)) {
	var err error
	for err == nil {
		var m message
		if m, err = c.line.receive(); err == nil && !c.deliver(m) {
			m.drop()
			err = fmt.Errorf("%w: an answer to nothing", errLine)
		}
	}
	c.line.conn.Close()
	if err == io.EOF {
		err = errors.New("it has ended")
	}
	c.mu.Lock()
	c.err = err
	closing := c.closing
	c.mu.Unlock()
	close(c.gone)
	if !closing {
		lost(err)
	}
}

// deliver hands an answer to who waits for it. It is false if nobody asked.
func (c *Client) deliver(m message) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	waiting, asked := c.waiting[m.id]
	if !asked || m.verb != verbAnswer {
		return false
	}
	delete(c.waiting, m.id)
	if waiting == nil {
		m.drop()
	} else {
		waiting <- m
	}
	return true
}

// Close lets go of the helper, which then withdraws its prompts and leaves.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	err := c.line.conn.Close()
	<-c.gone
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// PIN implements [prompt.Prompter].
func (c *Client) PIN(ctx context.Context, p prompt.Prompt) (*secret.Buffer, error) {
	m, _, err := c.call(ctx, verbPIN, newQuestion(ctx, p), nil)
	if err != nil {
		return nil, err
	}
	if m.pin == nil {
		m.drop()
		return nil, fmt.Errorf("%w: no PIN in the answer", errLine)
	}
	return m.pin, nil
}

// Confirm implements [prompt.Prompter].
func (c *Client) Confirm(ctx context.Context, p prompt.Prompt) error {
	m, _, err := c.call(ctx, verbConfirm, newQuestion(ctx, p), nil)
	m.drop()
	return err
}

func newQuestion(ctx context.Context, p prompt.Prompt) question {
	q := question{Title: p.Title, Error: p.Error, Secret: p.Secret, Facts: label(p.Facts), Claims: label(p.Claims), Time: limits.PromptTime}
	if deadline, ok := ctx.Deadline(); ok {
		q.Time = time.Until(deadline)
	}
	return q
}

// label cuts what no prompt would show whole, and may be very long.
func label(lines []prompt.Line) []labelled {
	all := make([]labelled, len(lines))
	for i, l := range lines {
		if l.Quoted {
			l.Value = l.Value[:min(len(l.Value), limits.HelperLine)]
		}
		all[i] = labelled{l.Label, []byte(l.Value), l.Quoted}
	}
	return all
}

// Choose learns who asks people, for [Client.Asks]. With anew, the helper first reads the
// configuration again and chooses by it.
func (c *Client) Choose(ctx context.Context, anew bool) error {
	// The helper is made for so many requests, and any client can have us ask.
	c.choosing.Lock()
	defer c.choosing.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, limits.HelperSend, errSilent)
	defer cancel()
	m, a, err := c.call(ctx, verbAsks, asking{anew}, nil)
	m.drop()
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.who = a.Who
	return nil
}

// Asks says who asks people, or why nobody can be asked. It does not wait for the helper.
func (c *Client) Asks() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.lost(nil).Error()
	}
	return cmp.Or(c.who, errSilent.Error())
}

// Chain follows a process to its ancestors; see [peercred.ChainOf].
func (c *Client) Chain(ctx context.Context, pid int, descriptor *os.File, connected time.Duration) (peercred.Chain, error) {
	m, a, err := c.call(ctx, verbChain, process{pid, connected}, descriptor)
	m.drop()
	return a.Chain, err
}

// StartSWTPM starts the software TPM that the helper was made for; see [tpm.SWTPM].
func (c *Client) StartSWTPM() (conn net.Conn, ended func() error, err error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), limits.HelperSend, errSilent)
	defer cancel()
	m, _, err := c.call(ctx, verbStartSWTPM, struct{}{}, nil)
	if err != nil {
		return nil, nil, err
	}
	defer m.drop() // conn is a duplicate
	if m.file == nil {
		return nil, nil, fmt.Errorf("%w: no socket in the answer", errLine)
	}
	conn, err = net.FileConn(m.file)
	if err != nil {
		return nil, nil, errors.Join(err, c.endSWTPM())
	}
	return conn, c.endSWTPM, nil
}

func (c *Client) endSWTPM() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), limits.HelperExit, errSilent)
	defer cancel()
	m, _, err := c.call(ctx, verbEndSWTPM, struct{}{}, nil)
	m.drop()
	return err
}

// call sends a request and waits for its answer. With an error there is nothing in the
// message.
func (c *Client) call(ctx context.Context, v verb, text any, file *os.File) (message, answer, error) {
	if ctx.Err() != nil {
		return message{}, answer{}, context.Cause(ctx)
	}
	m := message{verb: v, file: file}
	var err error
	if m.text, err = json.Marshal(text); err != nil {
		return message{}, answer{}, err
	}
	if len(m.text) > limits.HelperText {
		return message{}, answer{}, fmt.Errorf("%w: the question is too long", prompt.ErrUnavailable)
	}
	answered := make(chan message, 1)
	c.mu.Lock()
	c.last++
	m.id = c.last
	c.waiting[m.id] = answered
	c.mu.Unlock()
	if err := c.line.send(m); err != nil {
		return message{}, answer{}, c.forget(m.id, answered, err)
	}
	return c.wait(ctx, m.id, answered)
}

// wait waits for an answer. When ctx ends it cancels the request, and gives the helper
// a moment to do so: a prompt may be on the screen until then.
func (c *Client) wait(ctx context.Context, id uint32, answered chan message) (message, answer, error) {
	cancelled := ctx.Done()
	var late <-chan time.Time
	for {
		select {
		case reply := <-answered:
			a, err := parseAnswer(reply)
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				reply.drop()
				reply = message{}
			}
			return reply, a, err
		case <-cancelled:
			cancelled, late = nil, time.After(limits.HelperCancel)
			// If it does not arrive, the line has ended.
			_ = c.line.send(message{verb: verbCancel, id: id})
		case <-late:
			c.forget(id, answered, nil)
			return message{}, answer{}, context.Cause(ctx)
		case <-c.gone:
			return message{}, answer{}, c.forget(id, answered, context.Cause(ctx))
		}
	}
}

// forget has the answer to a request dropped when it comes, or now if it has come. It
// returns the error of a request that has no helper any more.
func (c *Client) forget(id uint32, answered chan message, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case m := <-answered:
		m.drop()
	default:
		c.waiting[id] = nil
	}
	return c.lost(err)
}

// lost is that error. Why the line has ended says
// more than what became of the request. c.mu is locked.
func (c *Client) lost(err error) error {
	return hint.Wrap(fmt.Errorf("%w: the agent has lost its helper: %w", prompt.ErrUnavailable, cmp.Or(c.err, err)),
		"restart the agent: it has given up the right to start programs")
}

// remoteError is an error of the helper.
type remoteError struct {
	text  string
	class error // or nil
}

// Error implements error.
func (e *remoteError) Error() string { return e.text }

// Unwrap returns the class.
func (e *remoteError) Unwrap() error { return e.class }

// parseAnswer is the answer, and the error in it.
func parseAnswer(m message) (a answer, err error) {
	if err := decode(m.text, &a); err != nil {
		return answer{}, err
	}
	if a.Error != "" {
		return answer{}, hint.Wrap(&remoteError{a.Error, classes[a.Class]}, a.Hints...)
	}
	return a, nil
}
