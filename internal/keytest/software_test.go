package keytest

import (
	"testing"

	"github.com/sealsmith/sealsmith/key"
)

func TestSoftwareBackend(t *testing.T) {
	TestBackend(t, Options{}, func(_ *testing.T, auth key.AuthFunc) CreatorDeleter { return &Backend{Auth: auth} })
}
