package helper

import (
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
	"github.com/sealsmith/sealsmith/key"
)

// Services is what a helper does, chosen at its start.
type Services struct {
	// Prompter asks people.
	Prompter prompt.Prompter
	// Choose says who asks them from now on, when the agent has its configuration read
	// again; nil: that cannot be done.
	Choose func() (prompt.Prompter, error)
	// StartSWTPM starts the software TPM on a unix socket; nil: there is none.
	StartSWTPM func() (conn net.Conn, ended func() error, err error)
}

// question is the text of verbPIN and verbConfirm: a [prompt.Prompt].
type question struct {
	Title, Error, Secret string
	Facts, Claims        []labelled
	Time                 time.Duration // for the answer
}

// labelled is a [prompt.Line]. A prompt shows octets that are no text; JSON's strings
// would lose them.
type labelled struct {
	Label  string
	Value  []byte
	Quoted bool
}

// process is the text of verbChain.
type process struct {
	PID       int
	Connected time.Duration
}

// asking is the text of verbAsks.
type asking struct {
	Choose bool // anew
}

// answer is the text of verbAnswer.
type answer struct {
	Who   string         `json:",omitempty"` // asks people
	Chain peercred.Chain `json:",omitempty"`
	Error string         `json:",omitempty"`
	Class string         `json:",omitempty"` // of the error, see classes
	Hints []string       `json:",omitempty"`
}

// classes are the errors that callers tell apart, by name.
var classes = map[string]error{
	"cancelled":   prompt.ErrCancelled,
	"unavailable": prompt.ErrUnavailable,
	"busy":        key.ErrBusy,
	"late":        context.DeadlineExceeded,
}

// server is the helper's side.
type server struct {
	Services
	line   line
	ctx    context.Context // ends with the agent
	places chan struct{}   // one for each request

	mu       sync.Mutex // for the next two
	running  map[uint32]context.CancelFunc
	prompter prompt.Prompter

	swtpm sync.Mutex   // for ended
	ended func() error // of the software TPM that was started last, unless it was called
}

// Serve does what the agent at the other end of the line asks for until it leaves;
// then it ends what it began and returns nil. An agent that does not keep to the
// protocol is an error. It closes the connection.
func Serve(conn *net.UnixConn, services Services) error {
	ctx, cancel := context.WithCancel(context.Background())
	s := &server{
		Services: services, line: line{conn: conn}, ctx: ctx,
		places: make(chan struct{}, limits.HelperRequests), running: map[uint32]context.CancelFunc{}, prompter: services.Prompter,
	}
	var requests sync.WaitGroup
	err := s.receive(&requests)
	conn.Close()
	cancel()
	requests.Wait()
	// How it ended was the agent's to know.
	_ = s.endSWTPM()
	return err
}

// receive begins a goroutine for each request, until the agent leaves.
func (s *server) receive(requests *sync.WaitGroup) error {
	for {
		m, err := s.line.receive()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if m.verb == verbCancel {
			m.drop()
			s.cancel(m.id)
			continue
		}
		ctx, err := s.begin(m)
		if err != nil {
			m.drop()
			return err
		}
		requests.Go(func() {
			defer s.finish(m.id)
			defer m.drop()
			reply := s.do(ctx, m)
			defer reply.drop()
			// If the agent is gone, receive sees it.
			_ = s.line.send(reply)
		})
	}
}

// begin registers a request. More than an agent has, or a number twice, is none of an
// agent of ours.
func (s *server) begin(m message) (context.Context, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, twice := s.running[m.id]; twice {
		return nil, fmt.Errorf("%w: request %d twice", errLine, m.id)
	}
	select {
	case s.places <- struct{}{}:
	default:
		return nil, fmt.Errorf("%w: more than %d requests", errLine, cap(s.places))
	}
	ctx, cancel := context.WithCancel(s.ctx)
	s.running[m.id] = cancel
	return ctx, nil
}

func (s *server) finish(id uint32) {
	s.cancel(id)
	s.mu.Lock()
	delete(s.running, id)
	s.mu.Unlock()
	<-s.places
}

// cancel cancels a request, unless it is done already.
func (s *server) cancel(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.running[id]; cancel != nil {
		cancel()
	}
}

// do answers a request.
func (s *server) do(ctx context.Context, m message) message {
	reply := message{verb: verbAnswer, id: m.id}
	var a answer
	var err error
	switch m.verb {
	case verbPIN:
		reply.pin, err = s.askPIN(ctx, m.text)
	case verbConfirm:
		err = s.confirm(ctx, m.text)
	case verbChain:
		a.Chain, err = chain(m)
	case verbStartSWTPM:
		reply.file, err = s.startSWTPM()
	case verbEndSWTPM:
		err = s.endSWTPM()
	case verbAsks:
		a.Who, err = s.asks(m.text)
	default:
		err = fmt.Errorf("%w: verb %d", errLine, m.verb)
	}
	if err != nil {
		a.describe(err)
	}
	// Of strings and numbers: it cannot fail.
	reply.text, _ = json.Marshal(a)
	return reply
}

// describe puts an error into an answer.
func (a *answer) describe(err error) {
	a.Error = fmt.Sprintf("%.*s", limits.ErrorText, err.Error())
	for name, class := range classes {
		if errors.Is(err, class) {
			a.Class = name
		}
	}
	for _, text := range hint.Of(err) {
		a.Hints = append(a.Hints, fmt.Sprintf("%.*s", limits.HelperLine, text))
	}
}

func (s *server) askPIN(ctx context.Context, text []byte) (*secret.Buffer, error) {
	q, ctx, done, err := parseQuestion(ctx, text)
	if err != nil {
		return nil, err
	}
	defer done()
	return s.asker().PIN(ctx, q)
}

func (s *server) confirm(ctx context.Context, text []byte) error {
	q, ctx, done, err := parseQuestion(ctx, text)
	if err != nil {
		return err
	}
	defer done()
	return s.asker().Confirm(ctx, q)
}

// asker is who asks people now. A question that is asked already stays with whom it is.
func (s *server) asker() prompt.Prompter {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.prompter
}

// asks says who asks people, after choosing anew if that is wanted.
func (s *server) asks(text []byte) (who string, err error) {
	var q asking
	if err := decode(text, &q); err != nil {
		return "", err
	}
	if !q.Choose {
		return prompt.Who(s.asker()), nil
	}
	if s.Choose == nil {
		return "", errors.New("who asks people was chosen for good")
	}
	chosen, err := s.Choose()
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prompter = chosen
	return prompt.Who(chosen), nil
}

func parseQuestion(ctx context.Context, text []byte) (prompt.Prompt, context.Context, context.CancelFunc, error) {
	var q question
	if err := decode(text, &q); err != nil {
		return prompt.Prompt{}, nil, nil, err
	}
	ctx, done := context.WithTimeout(ctx, min(q.Time, limits.PromptTime))
	return prompt.Prompt{Title: q.Title, Error: q.Error, Secret: q.Secret, Facts: lines(q.Facts), Claims: lines(q.Claims)}, ctx, done, nil
}

func lines(all []labelled) []prompt.Line {
	same := make([]prompt.Line, len(all))
	for i, l := range all {
		same[i] = prompt.Line{Label: l.Label, Value: string(l.Value), Quoted: l.Quoted}
	}
	return same
}

func chain(m message) (peercred.Chain, error) {
	var p process
	if err := decode(m.text, &p); err != nil {
		return nil, err
	}
	return peercred.ChainOf(p.PID, m.file, p.Connected)
}

// startSWTPM starts the software TPM. There is one at a time: an agent that starts it
// again has no use for the one before.
func (s *server) startSWTPM() (*os.File, error) {
	if s.StartSWTPM == nil {
		return nil, errors.New("the agent was started for another device than a software TPM")
	}
	s.swtpm.Lock()
	defer s.swtpm.Unlock()
	if s.ended != nil {
		_ = s.ended()
		s.ended = nil
	}
	conn, ended, err := s.StartSWTPM()
	if err != nil {
		return nil, err
	}
	file, err := conn.(*net.UnixConn).File()
	conn.Close() // the agent gets a duplicate
	if err != nil {
		return nil, errors.Join(err, ended())
	}
	s.ended = ended
	return file, nil
}

// endSWTPM waits until the software TPM has ended, whose socket the agent has closed.
func (s *server) endSWTPM() error {
	s.swtpm.Lock()
	defer s.swtpm.Unlock()
	if s.ended == nil {
		return errors.New("no software TPM runs")
	}
	ended := s.ended
	s.ended = nil
	return ended()
}
