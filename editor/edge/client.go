package edge

import (
	"sync"
	"sync/atomic"
	"time"

	"collab.dev/operator/editor/auth"
	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/document"
	"collab.dev/operator/editor/peer"
	"collab.dev/operator/editor/protocol"
)

const (
	// admitTimeout bounds the question who may open a document.
	admitTimeout = 10 * time.Second
	// expiryWarning is how long before its token expires a client is asked for a new one.
	expiryWarning = time.Minute
)

// client is one document on a connection. The connection's reader owns it.
type client struct {
	member   member
	conn     *conn
	address  string
	room     *room
	identity *auth.Identity
	access   auth.Access
	// by is what author returns, empty until that is asked.
	by string
	// dismissed says that the document turned out to be deleted: the client is not in its room anymore.
	dismissed atomic.Bool

	// updates and presences say which items of the outbox can be added to, from 1; the outbox guards them.
	updates, presences int32

	// watch ends the timers and the watch over the identity, nil if there are none.
	watch func()
}

func newClient(c *conn, address string, identity *auth.Identity, access auth.Access) *client {
	k := &c.first
	if k.conn != nil {
		k = &client{}
	}
	k.conn, k.address, k.identity, k.access = c, address, identity, access
	k.member = member{participant: k, silent: access < auth.Write && c.dialect == protocol.YWebsocket}
	k.follow()
	return k
}

// follow ends the connection when the identity's token expires or is revoked, and asks for a new token before.
func (k *client) follow() {
	c, identity := k.conn, k.identity
	if identity.Anonymous() {
		k.watch = nil
		return
	}
	unwatch := c.edge.opts.Guard.Watch(identity, func() { c.bye(CloseUnauthenticated, "the session was revoked") })
	var timers []*time.Timer
	if !identity.Expires.IsZero() {
		left := time.Until(identity.Expires)
		timers = append(timers, time.AfterFunc(left, func() { c.bye(CloseUnauthenticated, "the token has expired") }))
		warning := min(expiryWarning, left/2)
		timers = append(timers, time.AfterFunc(left-warning, func() {
			payload := protocol.EncodeSeconds(int(warning / time.Second))
			if c.dialect == protocol.Hocuspocus {
				payload = nil
			}
			c.send(k, message{kind: protocol.TokenExpires, payload: payload})
		}))
	}
	k.watch = sync.OnceFunc(func() {
		unwatch()
		for _, t := range timers {
			t.Stop()
		}
	})
}

// stop ends the watch.
func (k *client) stop() {
	if k.watch != nil {
		k.watch()
	}
}

// leave ends the use of the document.
func (k *client) leave() {
	k.stop()
	k.room.leave(&k.member)
}

func (k *client) author() string {
	if k.by == "" { // A connection has one user for all its life.
		k.by = peer.Author(k.conn.dialect.String(), k.identity.User)
	}
	return k.by
}

func (k *client) gone() { k.conn.dismiss(k) }

func (k *client) scope() []byte {
	if k.access >= auth.Write {
		return []byte(protocol.ReadWrite)
	}
	return []byte(protocol.ReadOnly)
}

// send brings what happens in the room to the client. It never blocks.
func (k *client) send(m message) {
	if k.conn.dialect == protocol.YWebsocket && (m.kind == protocol.Stateless || m.kind == protocol.SyncStatus) {
		return // y-websocket does not know them.
	}
	k.conn.send(k, m)
}

func (k *client) tell(kind protocol.Kind, payload []byte) {
	k.send(message{kind: kind, payload: payload})
}

// take handles a message about the document.
func (k *client) take(m protocol.Message) error {
	switch m.Kind {
	case protocol.SyncStep1:
		if _, err := crdt.DecodeStateVector(m.Payload); err != nil {
			return err
		}
		k.room.sync(&k.member, m.Payload, !m.Reply)
	case protocol.SyncStep2, protocol.Update:
		return k.change(m)
	case protocol.Awareness:
		presences, err := protocol.ParseAwareness(m.Payload)
		if err != nil {
			return err
		}
		if k.access < auth.Comment {
			// Others do not see who may only read. Providers reconnect when they hear nothing, not even of themselves.
			k.send(presence(presences))
			return nil
		}
		k.room.awareness(&k.member, presences)
	case protocol.QueryAwareness:
		k.room.queryAwareness(&k.member)
	case protocol.Token:
		k.renew(string(m.Payload))
	case protocol.Stateless:
		if k.access >= auth.Comment {
			k.room.stateless(&k.member, m.Payload)
		}
	case protocol.Close:
		k.conn.leave(k)
	default:
		// The rest is what servers say.
	}
	return nil
}

// change handles an update. It is checked before the others are told, who would stumble over what is malformed.
func (k *client) change(m protocol.Message) error {
	if protocol.IsEmptyUpdate(m.Payload) {
		k.tell(protocol.SyncStatus, protocol.Saved)
		return nil
	}
	if err := crdt.ValidateUpdate(m.Payload); err != nil {
		return err
	}
	switch {
	case k.access >= auth.Write:
		if !k.room.update(k.conn, &k.member, m.Payload, m.Kind == protocol.SyncStep2, k) {
			return nil
		}
	case k.conn.dialect == protocol.Hocuspocus && m.Kind == protocol.SyncStep2:
		// The provider of a viewer answers questions too, and wants to know that nothing is unsaved.
		if !k.room.check(k.conn, m.Payload, k) {
			return nil
		}
	default:
		if k.conn.dialect == protocol.YWebsocket { // Hocuspocus's provider takes it for the end of the document.
			k.tell(protocol.Denied, []byte("you may only read this document: the change was not taken"))
		}
		k.tell(protocol.SyncStatus, protocol.NotSaved)
		return nil
	}
	// Nothing was read while the room was full, not even answers to pings.
	k.conn.alive()
	return nil
}

// decided implements fate: it tells the client what became of a change.
func (k *client) decided(why document.Reason, ok bool) {
	status := protocol.Saved
	if !ok {
		status = protocol.NotSaved
	}
	k.tell(protocol.SyncStatus, status)
	switch {
	case ok, why == document.Missing, why == document.Deleted: // Who uses a deleted document is let go.
	case why == document.TooLarge:
		k.conn.bye(CloseTooLarge, "the document would become too large: the change was not taken")
	default:
		k.conn.edge.opts.Logger.Warn("The owner refused a change", "connection", k.conn.id, "document", k.room.name, "reason", why)
	}
}

// renew takes a new token for the one that expires. It must speak for the same user.
func (k *client) renew(token string) {
	identity, access, no := k.conn.edge.admit(token, k.room.name)
	switch {
	case no != nil && no.code == CloseUnauthenticated:
		k.conn.bye(no.code, no.reason)
		return
	case no != nil:
		k.tell(protocol.Denied, []byte(no.reason))
		k.conn.bye(no.code, no.reason)
		return
	case identity.User != k.identity.User:
		k.conn.bye(CloseForbidden, "the token is somebody else's: connect anew")
		return
	case k.access >= auth.Write && access < auth.Write:
		k.conn.bye(CloseForbidden, "you may only read this document now: connect anew")
		return
	}
	k.stop()
	k.identity, k.access = identity, access
	k.room.speaks(&k.member, access >= auth.Write || k.conn.dialect != protocol.YWebsocket)
	k.follow()
	k.tell(protocol.Authenticated, k.scope())
}
