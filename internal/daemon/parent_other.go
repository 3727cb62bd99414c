//go:build !linux

package daemon

import (
	"context"
	"errors"
)

func awaitExit(context.Context, int) error { return errors.ErrUnsupported }
