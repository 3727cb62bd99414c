package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/gitmeta"
	"github.com/sealsmith/sealsmith/internal/hint"
)

// dateAndCommit sets what the flags leave open and the bundle needs: the date, from
// SOURCE_DATE_EPOCH or the tag of the commit in which the catalogs are; and the commit,
// if the date is its or the format wants one. So a build that says its date does not
// depend on a repository.
func (f *bundleBuildFlags) dateAndCommit(ctx context.Context, o *bundle.Options, catalogs [][]byte) error {
	if o.Date == "" {
		epoch, err := sourceDate()
		if err != nil {
			return err
		}
		if epoch != nil {
			o.Date = epoch.Format(time.DateOnly)
		}
	}
	needsCommit := o.Commit == "" && o.Format == bundle.TPMTB
	if o.Date != "" && !needsCommit {
		return nil
	}
	if len(catalogs) == 0 {
		if o.Date != "" {
			return nil // the header's check says what is missing
		}
		return hint.Wrap(usageError(errors.New("no date for the bundle")),
			"give --date YYYY-MM-DD or set SOURCE_DATE_EPOCH: the clock would make other bytes each day")
	}
	meta, err := f.askGit(ctx, catalogs)
	if err != nil {
		return hint.Wrap(fmt.Errorf("no date or commit from the repository of the catalog: %w", err),
			"give --date YYYY-MM-DD, and --commit HEX for the tpmtb format")
	}
	if o.Commit == "" {
		o.Commit = meta.Commit
	}
	if o.Date == "" {
		o.Date, err = dateTag(meta)
	}
	return err
}

// askGit asks about all catalogs, which must be of one commit.
func (f *bundleBuildFlags) askGit(ctx context.Context, catalogs [][]byte) (*gitmeta.Meta, error) {
	var first *gitmeta.Meta
	for i, data := range catalogs {
		meta, err := gitmeta.File(ctx, f.catalogs[i], data)
		if err != nil {
			return nil, err
		}
		if first == nil {
			first = meta
		}
		if meta.Commit != first.Commit {
			return nil, fmt.Errorf("the catalogs are of the commits %s and %s", first.Commit, meta.Commit)
		}
	}
	return first, nil
}

// dateTag is the only tag on the commit that is a date.
func dateTag(m *gitmeta.Meta) (string, error) {
	dates := slices.DeleteFunc(slices.Clone(m.Tags), func(tag string) bool {
		day, err := time.Parse(time.DateOnly, tag)
		return err != nil || day.Format(time.DateOnly) != tag
	})
	switch len(dates) {
	case 1:
		return dates[0], nil
	case 0:
		return "", hint.Wrap(fmt.Errorf("no tag YYYY-MM-DD is on commit %s of the catalog", m.Commit),
			"check out a tag, or give --date YYYY-MM-DD")
	}
	return "", hint.Wrap(fmt.Errorf("commit %s of the catalog has the tags %q", m.Commit, dates), "say which with --date")
}
