package agent

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/sealsmith/sealsmith/key"
)

// importRequest is the body of POST /v1/keys/import. The file is one that only the
// device can decrypt: no client sends a private key as it is.
type importRequest struct {
	Name       string `json:"name"`
	Comment    string `json:"comment,omitempty"`
	Unattended bool   `json:"unattended,omitempty"`
	File       []byte `json:"file"`
}

// DeviceStorage is what GET /v1/device/storage answers.
type DeviceStorage struct {
	Device  string          `json:"device"`
	Storage json.RawMessage `json:"storage"` // as the driver describes it
}

func (s *Server) importKey(w http.ResponseWriter, r *http.Request) (int, any, error) {
	var body importRequest
	release, err := s.readJSON(w, r, &body)
	if err != nil {
		return 0, nil, err
	}
	defer release()
	spec := key.ImportSpec{Name: body.Name, Comment: body.Comment, Unattended: body.Unattended, File: body.File}
	if err := spec.Validate(); err != nil {
		return 0, nil, err
	}
	begun := newRecord("import", SocketControl, connOf(r.Context()).peer)
	begun.Ref = spec.Name
	var imported key.Info
	err = s.recorded(begun, func(end *record) error {
		signer, err := s.config.Keys.Import(r.Context(), spec)
		if err != nil {
			return err
		}
		imported = signer.Info()
		end.Key, end.Ref = imported.ID, imported.Ref.String()
		return nil
	})
	if err != nil {
		return 0, nil, err
	}
	answer, err := newKeyAnswer(imported)
	return http.StatusCreated, answer, err
}

func (s *Server) deviceStorage(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	storage, err := s.config.Device.Storage(r.Context())
	if err != nil {
		return 0, nil, err
	}
	body, err := json.Marshal(storage)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, DeviceStorage{Device: s.config.Device.String(), Storage: body}, nil
}

// Import brings the key of a file into the agent's device.
func (c *Client) Import(ctx context.Context, s key.ImportSpec) (key.Info, error) {
	var answer keyAnswer
	err := c.call(ctx, "POST", "/v1/keys/import", importRequest{
		Name: s.Name, Comment: s.Comment, Unattended: s.Unattended, File: s.File,
	}, &answer)
	if err != nil {
		return key.Info{}, err
	}
	return answer.info()
}

// Storage describes the key of the agent's device that others wrap keys for.
func (c *Client) Storage(ctx context.Context) (DeviceStorage, error) {
	var d DeviceStorage
	err := c.call(ctx, "GET", "/v1/device/storage", nil, &d)
	return d, err
}
