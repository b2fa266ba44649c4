// Stands in front of every script: serve answers requests, in the frames of yjs.Process.
import * as serveFiles from 'node:fs'
import * as serveEncoding from 'lib0/encoding'
import * as serveDecoding from 'lib0/decoding'

// A pipe may be one that does not block.
const serveAgain = call => {
  for (;;) {
    try {
      return call()
    } catch (e) {
      if (e.code !== 'EAGAIN') throw e
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    }
  }
}

const serveRead = size => {
  const buffer = new Uint8Array(size)
  for (let at = 0; at < size;) {
    const read = serveAgain(() => serveFiles.readSync(0, buffer, at, size - at, null))
    if (read === 0) process.exit(0)
    at += read
  }
  return buffer
}

const serve = answer => {
  for (;;) {
    const request = serveRead(new DataView(serveRead(4).buffer).getUint32(0, true))
    const encoder = serveEncoding.createEncoder()
    serveEncoding.writeAny(encoder, answer(serveDecoding.readAny(serveDecoding.createDecoder(request))))
    const body = serveEncoding.toUint8Array(encoder)
    const frame = new Uint8Array(4 + body.length)
    new DataView(frame.buffer).setUint32(0, body.length, true)
    frame.set(body, 4)
    for (let at = 0; at < frame.length;) at += serveAgain(() => serveFiles.writeSync(1, frame, at))
  }
}
