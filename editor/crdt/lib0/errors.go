package lib0

import "errors"

// The reasons for which a decoder refuses its input.
var (
	// ErrUnexpectedEnd reports input that ends within a value.
	ErrUnexpectedEnd = errors.New("unexpected end of input")
	// ErrOutOfRange reports an integer beyond JavaScript's safe range, or a length beyond its input.
	ErrOutOfRange = errors.New("integer out of range")
	// ErrInvalidString reports a string that is not valid UTF-8.
	ErrInvalidString = errors.New("string is not valid UTF-8")
	// ErrInvalidAny reports an unknown tag in the any encoding.
	ErrInvalidAny = errors.New("unknown tag of an any value")
	// ErrInvalidJSON reports text that JSON.parse would refuse.
	ErrInvalidJSON = errors.New("invalid JSON")
	// ErrTooDeep reports a value nested deeper than MaxDepth.
	ErrTooDeep = errors.New("value is nested too deeply")
)

const (
	// MaxSafeInteger is the largest integer that a JavaScript number holds exactly, 2^53-1.
	MaxSafeInteger = 1<<53 - 1
	// MaxDepth bounds how deeply arrays and objects of one value may nest.
	MaxDepth = 512
)
