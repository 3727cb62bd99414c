package secret

import "golang.org/x/sys/unix"

// advise leaves the pages out of core dumps and gives a forked child zeros.
func advise(pages []byte) error {
	if err := unix.Madvise(pages, unix.MADV_DONTDUMP); err != nil {
		return err
	}
	return unix.Madvise(pages, unix.MADV_WIPEONFORK)
}
