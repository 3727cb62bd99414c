package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/internal/secret"
	"github.com/sealsmith/sealsmith/key"
)

// handler serves a request of the control API.
type handler func(w http.ResponseWriter, r *http.Request) (status int, answer any, err error)

// controlHandler routes the control API.
func (s *Server) controlHandler() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range map[string]handler{
		"GET /v1/status":            s.status,
		"POST /v1/reload":           s.paced(s.reload),
		"POST /v1/lock":             s.paced(s.lockAgent),
		"POST /v1/unlock":           s.paced(s.unlockAgent),
		"GET /v1/device":            s.device,
		"GET /v1/device/storage":    s.deviceStorage,
		"GET /v1/device/ek":         s.deviceEK,
		"POST /v1/device/answer":    s.paced(s.unlocked(s.answerChallenge)),
		"POST /v1/device/pin":       s.paced(s.unlocked(s.pinDevice)),
		"GET /v1/keys":              s.listKeys,
		"POST /v1/keys":             s.paced(s.unlocked(s.createKey)),
		"POST /v1/keys/import":      s.paced(s.unlocked(s.importKey)),
		"DELETE /v1/keys/{id}":      s.paced(s.unlocked(s.deleteKey)),
		"POST /v1/keys/{id}/sign":   s.signKey,
		"POST /v1/keys/{id}/attest": s.paced(s.unlocked(s.attestKey)),
		"POST /v1/keys/{id}/pin":    s.paced(s.unlocked(s.changePIN)),
		"POST /v1/keys/{id}/unlock": s.paced(s.unlocked(s.unlockKey)),
		"POST /v1/secrets":          s.putSecret,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			status, answer, err := h(w, r)
			if err != nil {
				s.config.Log.Debug("control request failed", logx.Peer, connOf(r.Context()).peer.PID, "request", pattern, logx.Err, err)
				var e wireError
				status, e = encodeError(err)
				answer = errorAnswer{e}
			}
			writeJSON(w, status, answer)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		message := fmt.Sprintf("no endpoint %.20q %.200q", r.Method, r.URL.Path)
		writeJSON(w, http.StatusNotFound, errorAnswer{wireError{Code: codeNoEndpoint, Message: message}})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := limitBody(w, r)
		// Browsers send it; nobody else has a reason to.
		if err == nil && len(r.Header.Values("Origin")) > 0 {
			err = fmt.Errorf("requests with an origin are refused: %w", key.ErrNotAllowed)
		}
		if err != nil {
			status, e := encodeError(err)
			writeJSON(w, status, errorAnswer{e})
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// paced has a process wait that does what is recorded on and on.
func (s *Server) paced(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) (int, any, error) {
		c := connOf(r.Context())
		if err := s.slowDown(r.Context(), c); err != nil {
			return 0, nil, err
		}
		s.refusals.count(c.peer.PID)
		return h(w, r)
	}
}

// limitBody refuses a body where none belongs, or that does not say how long it is, as
// room is made before it is read; and it limits the time for others. What a handler
// leaves of a body is read by net/http; the client has its answer first if the connection
// is to be closed.
func limitBody(w http.ResponseWriter, r *http.Request) error {
	if r.ContentLength == 0 {
		return nil
	}
	w.Header().Set("Connection", "close") // until readBody has it all
	control := http.NewResponseController(w)
	var wrong error
	switch {
	case r.Method != http.MethodPost || r.URL.Path == "/v1/reload":
		wrong = fmt.Errorf("%.20q %.80q takes no body: %w", r.Method, r.URL.Path, key.ErrUsage)
	case r.ContentLength < 0:
		wrong = fmt.Errorf("body without a Content-Length: %w", key.ErrUsage)
	default:
		return control.SetReadDeadline(time.Now().Add(limits.ControlBodyTime))
	}
	return errors.Join(wrong, control.SetReadDeadline(time.Now()))
}

// writeJSON answers. A client that does not read is cut off.
func writeJSON(w http.ResponseWriter, status int, answer any) {
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(limits.ControlBodyTime)); err != nil {
		return
	}
	body, err := json.Marshal(answer)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":{"code":"internal","message":"encode answer"}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}

// readBody checks a request's type and length, waits for room, and has read take
// the whole body. The body's memory counts until release is called.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, contentType string, limit int, read func(io.Reader) error) (release func(), err error) {
	if got := r.Header.Values("Content-Type"); len(got) != 1 || got[0] != contentType {
		return nil, fmt.Errorf("content type %.200q, want %s: %w", got, contentType, key.ErrUsage)
	}
	if r.ContentLength > int64(limit) {
		return nil, fmt.Errorf("body of %d bytes, at most %d: %w", r.ContentLength, limit, key.ErrUsage)
	}
	wait, cancel := context.WithTimeout(r.Context(), limits.ControlBodyTime)
	defer cancel()
	release, err = s.bodies.reserve(wait, int(r.ContentLength))
	if err != nil {
		return nil, &classError{err.Error(), key.ErrBusy}
	}
	control := http.NewResponseController(w)
	err = control.SetReadDeadline(time.Now().Add(limits.ControlBodyTime))
	if err == nil {
		err = read(r.Body)
	}
	if err == nil {
		// From here on the connection is only watched for its end.
		err = control.SetReadDeadline(time.Time{})
	}
	if err == nil {
		err = context.Cause(r.Context()) // the agent was locked meanwhile
	}
	if err != nil {
		release()
		return nil, err
	}
	w.Header().Del("Connection")
	return release, nil
}

// readJSON decodes the body of a request.
func (s *Server) readJSON(w http.ResponseWriter, r *http.Request, into any) (release func(), err error) {
	return s.readBody(w, r, "application/json", limits.ControlBody, func(body io.Reader) error {
		data := make([]byte, r.ContentLength)
		if _, err := io.ReadFull(body, data); err != nil {
			return fmt.Errorf("read body: %w: %w", err, key.ErrUsage)
		}
		return decodeJSON(data, into)
	})
}

func (s *Server) device(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	status, err := s.config.Device.Status(r.Context())
	s.seen.used(err)
	if err != nil {
		return 0, nil, err
	}
	body, err := json.Marshal(status)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, DeviceStatus{Device: s.config.Device.String(), Status: body}, nil
}

func (s *Server) listKeys(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	infos, err := s.config.Keys.List(r.Context())
	answer := listAnswer{Keys: []keyAnswer{}, Errors: []wireError{}}
	for _, in := range infos {
		k, err := newKeyAnswer(in)
		if err != nil {
			return 0, nil, err
		}
		answer.Keys = append(answer.Keys, k)
	}
	if err != nil {
		for _, one := range split(err) {
			_, e := encodeError(one)
			answer.Errors = append(answer.Errors, e)
		}
	}
	return http.StatusOK, answer, nil
}

// split takes a joined error apart.
func split(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

func (s *Server) signKey(w http.ResponseWriter, r *http.Request) (int, any, error) {
	if err := s.slowDown(r.Context(), connOf(r.Context())); err != nil {
		return 0, nil, err
	}
	id := key.ID(r.PathValue("id"))
	ctx, done := s.uses.begin(r.Context(), id)
	defer done()
	signer, err := s.findKey(ctx, id, SocketControl, connOf(ctx).peer)
	if err != nil {
		return 0, nil, err
	}
	var body signRequestBody
	release, err := s.readJSON(w, r, &body)
	if err != nil {
		return 0, nil, err
	}
	defer release()
	j := &signing{signer: signer}
	j.Request = Request{Peer: connOf(ctx).peer, Socket: SocketControl, Key: signer.Info()}
	encode, err := body.signing(j)
	if err != nil {
		return 0, nil, s.settle(j, err)
	}
	signature, err := s.sign(ctx, j)
	if err != nil {
		return 0, nil, err
	}
	signature, err = encode(signature)
	return http.StatusOK, signAnswer{signature}, err
}

// putSecret keeps a PIN for the next request. It goes from the connection's
// buffer, which net/http does not wipe, into locked memory.
func (s *Server) putSecret(w http.ResponseWriter, r *http.Request) (int, any, error) {
	var buf *secret.Buffer
	release, err := s.readBody(w, r, "application/octet-stream", limits.SecretOctets, func(body io.Reader) (err error) {
		if buf, err = secret.Read(body, limits.SecretOctets); err != nil {
			return fmt.Errorf("%w: %w", err, key.ErrUsage)
		}
		return nil
	})
	if err != nil {
		if buf != nil {
			buf.Wipe()
		}
		return 0, nil, err
	}
	defer release()
	name, err := s.secrets.put(connOf(r.Context()).peer.UID, buf)
	return http.StatusCreated, secretAnswer{name}, err
}
