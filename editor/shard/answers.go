package shard

import (
	"slices"
	"sync"

	"collab.dev/operator/editor/document"
)

const (
	// answerBytes is how much of the answers to an edge's questions may be under way before the next one is answered.
	answerBytes = 32 << 20
	// questionBytes bounds the questions that wait.
	questionBytes = 16 << 20
)

// question is somebody's for what is new in a document.
type question struct {
	channel    uint32
	attachment *document.Attachment
	ref        uint64
	vector     []byte
}

func (q question) size() int { return 64 + len(q.vector) }

// answer is one that is being made or is under way.
type answer struct {
	bytes int
	begun bool
}

// answers lets one answer to each channel be under way, and so many bytes of all to an edge: an answer may be as large
// as its document, and all documents may be asked for at once. Its mutex is taken after any document's.
type answers struct {
	mu      sync.Mutex
	waiting []question
	asked   int // Bytes.
	under   map[uint32]*answer
	bytes   int
}

// ask adds a question, unless too many wait.
func (a *answers) ask(q question) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.asked+q.size() > questionBytes {
		return false
	}
	a.waiting, a.asked = append(a.waiting, q), a.asked+q.size()
	return true
}

// next takes the first question that can be answered now.
func (a *answers) next() (q question, made *answer, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.bytes >= answerBytes {
		return q, nil, false
	}
	at := slices.IndexFunc(a.waiting, func(q question) bool { return a.under[q.channel] == nil })
	if at < 0 {
		return q, nil, false
	}
	q, made = a.waiting[at], &answer{}
	a.waiting, a.asked = slices.Delete(a.waiting, at, at+1), a.asked-q.size()
	a.under[q.channel] = made
	return q, made, true
}

// begin says that the channel's answer is on its way.
func (a *answers) begin(channel uint32, bytes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if made := a.under[channel]; made != nil {
		made.begun, made.bytes = true, bytes
		a.bytes += bytes
	}
}

// end says that an answer was made, if there was one.
func (a *answers) end(channel uint32, made *answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.under[channel] == made && !made.begun {
		delete(a.under, channel)
	}
}

// sent says that the channel's answer is gone. It tells whether questions wait.
func (a *answers) sent(channel uint32) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop(channel)
	return len(a.waiting) > 0
}

// forget forgets a channel and its questions.
func (a *answers) forget(channel uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop(channel)
	a.waiting = slices.DeleteFunc(a.waiting, func(q question) bool {
		if q.channel == channel {
			a.asked -= q.size()
		}
		return q.channel == channel
	})
}

// drop takes an answer off what is under way. The caller holds mu.
func (a *answers) drop(channel uint32) {
	if made := a.under[channel]; made != nil {
		a.bytes -= made.bytes
		delete(a.under, channel)
	}
}

// answer answers the edge's questions as far as they can be answered now.
func (s *session) answer() {
	for {
		q, made, ok := s.answers.next()
		if !ok {
			return
		}
		if err := q.attachment.Sync(q.ref, q.vector); err != nil {
			s.manager.opts.Logger.Warn("An edge sent a malformed state vector", "error", err)
		}
		s.answers.end(q.channel, made)
	}
}
