//go:build !linux

package tpm

import (
	"fmt"

	"github.com/sealsmith/sealsmith/key"
)

// openNode fails: only Linux has TPM device nodes.
func openNode(string) (*link, error) {
	return nil, fmt.Errorf("TPM device nodes on this system: %w", key.ErrUnsupported)
}
