package oci

import (
	"archive/tar"
	"errors"
	"testing"
	"time"
)

// TestLayerNoticesGrowth: a file that grows between looking and copying.
func TestLayerNoticesGrowth(t *testing.T) {
	growing := File{Path: "/a", Source: "/proc/self/status"} // size 0, and yet content
	if _, err := newLayer(t.Context(), []File{growing}, time.Unix(0, 0)); !errors.Is(err, tar.ErrWriteTooLong) {
		t.Errorf("got %v", err)
	}
}
