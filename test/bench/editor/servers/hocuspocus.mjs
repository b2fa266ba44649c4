// Runs Hocuspocus as its documentation sets it up for more than one server: documents in a database, changes by Redis.
import { Redis } from '@hocuspocus/extension-redis'
import { SQLite } from '@hocuspocus/extension-sqlite'
import { Server } from '@hocuspocus/server'

const { HOST, PORT, REDIS_PORT, DATABASE } = process.env
const server = new Server({
  address: HOST,
  port: Number(PORT),
  quiet: true,
  extensions: [new SQLite({ database: DATABASE }), new Redis({ host: HOST, port: Number(REDIS_PORT) })]
})
await server.listen()
