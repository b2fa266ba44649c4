package rest

// ParseArchived is for the fuzzer.
var ParseArchived = parseArchived
