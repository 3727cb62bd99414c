package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/key"
)

// DeviceEKs is what GET /v1/device/ek answers.
type DeviceEKs struct {
	Device string          `json:"device"`
	Keys   json.RawMessage `json:"endorsement_keys"` // as the driver describes them
}

type answerRequest struct {
	Challenge []byte `json:"challenge"`
}

type answerAnswer struct {
	Answer []byte `json:"answer"`
}

type pinDeviceRequest struct {
	EKCertificate string `json:"ek_certificate"` // SHA-256, hexadecimal
}

type attestRequest struct {
	Nonce []byte `json:"nonce,omitzero"`
}

type attestAnswer struct {
	Evidence []byte `json:"evidence"`
}

// deviceEK lists the endorsement keys. Their certificates tell machines apart.
func (s *Server) deviceEK(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	keys, err := s.config.Device.EndorsementKeys(r.Context())
	if err != nil {
		return 0, nil, err
	}
	body, err := json.Marshal(keys)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, DeviceEKs{s.config.Device.String(), body}, nil
}

// answerChallenge proves where the attestation key is.
func (s *Server) answerChallenge(w http.ResponseWriter, r *http.Request) (int, any, error) {
	var body answerRequest
	release, err := s.readJSON(w, r, &body)
	if err != nil {
		return 0, nil, err
	}
	defer release()
	done := newRecord("answer", SocketControl, connOf(r.Context()).peer)
	done.Ref = s.config.Device.String()
	_, done.Digest = sha256Of(body.Challenge)
	answer, err := s.config.Device.Answer(r.Context(), body.Challenge)
	err = s.unlessEnded(r.Context(), err)
	return http.StatusOK, answerAnswer{answer}, s.written(done, err)
}

// pinDevice binds what is known about the device to its endorsement key.
func (s *Server) pinDevice(w http.ResponseWriter, r *http.Request) (int, any, error) {
	var body pinDeviceRequest
	release, err := s.readJSON(w, r, &body)
	if err != nil {
		return 0, nil, err
	}
	defer release()
	done := newRecord("pin", SocketControl, connOf(r.Context()).peer)
	done.Ref = s.config.Device.String()
	err = s.config.Device.Pin(r.Context(), body.EKCertificate)
	if err == nil {
		done.Digest = "sha256:" + body.EKCertificate
	}
	return http.StatusOK, struct{}{}, s.written(done, err)
}

// attestKey has the device vouch for a key. Nothing of the caller's is signed with
// the key, so no yes is asked for; a PIN is.
func (s *Server) attestKey(w http.ResponseWriter, r *http.Request) (int, any, error) {
	var body attestRequest
	release, err := s.readJSON(w, r, &body)
	if err != nil {
		return 0, nil, err
	}
	defer release()
	id := key.ID(r.PathValue("id"))
	ctx, end := s.uses.begin(r.Context(), id)
	defer end()
	signer, err := s.config.Keys.Signer(ctx, id)
	if err != nil {
		return 0, nil, err
	}
	in, peer := signer.Info(), connOf(ctx).peer
	done := newRecord("attest", SocketControl, peer)
	done.Key, done.Ref = in.ID, in.Ref.String()
	attester, can := signer.(key.Attester)
	if !can {
		return 0, nil, s.written(done, fmt.Errorf("attest %s: %w by its device", in.Ref, key.ErrUnsupported))
	}
	evidence, err := attester.Attest(newContext(ctx, &Request{Peer: peer, Socket: SocketControl, Key: in, Form: formAttest}), body.Nonce)
	if err = s.unlessEnded(ctx, err); err == nil {
		_, done.Digest = sha256Of(evidence)
	}
	return http.StatusOK, attestAnswer{evidence}, s.written(done, err)
}

// written records how something ended, before the client learns it. It returns
// err, or that it could not be recorded.
func (s *Server) written(r record, err error) error {
	r.end(err)
	if lost := s.config.Audit.write(r); err == nil {
		err = lost
	}
	log := s.config.Log.With(logx.Ref, r.Ref, logx.Peer, r.PID)
	if err == nil {
		log.Info(r.Action)
		return nil
	}
	if hints := hint.Of(err); len(hints) > 0 {
		log = log.With(logx.Hint, hints)
	}
	log.Info(r.Action+" failed", logx.Err, err)
	return err
}

// EndorsementKeys lists the endorsement keys of the agent's device.
func (c *Client) EndorsementKeys(ctx context.Context) (DeviceEKs, error) {
	var d DeviceEKs
	err := c.call(ctx, "GET", "/v1/device/ek", nil, &d)
	return d, err
}

// Answer has the agent's device answer a challenge; both are documents of
// docs/spec/evidence.md.
func (c *Client) Answer(ctx context.Context, challenge []byte) ([]byte, error) {
	var a answerAnswer
	err := c.call(ctx, "POST", "/v1/device/answer", answerRequest{challenge}, &a)
	return a.Answer, err
}

// Pin binds what the agent knows about its device to the endorsement key whose
// certificate has this SHA-256, in hexadecimal.
func (c *Client) Pin(ctx context.Context, ekCertificate string) error {
	return c.call(ctx, "POST", "/v1/device/pin", pinDeviceRequest{ekCertificate}, &struct{}{})
}

// Attest returns evidence about a key that was listed; see [key.Attester].
func (c *Client) Attest(ctx context.Context, in key.Info, nonce []byte) ([]byte, error) {
	var a attestAnswer
	err := c.call(ctx, "POST", "/v1/keys/"+string(in.ID)+"/attest", attestRequest{nonce}, &a)
	return a.Evidence, err
}
