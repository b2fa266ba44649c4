package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
)

const (
	linkMethod    = "/collab.dev.Peer/Link"
	releaseMethod = "/collab.dev.Peer/Release"
	// maxFrame is the largest frame: a document's whole state must fit in.
	maxFrame = 256 << 20
	// window is how much of a stream may be under way: what a frame may have to wait for that goes first.
	window = 1 << 20
	// joins is the header of edges that put frames together.
	joins = "collab-joins"
)

// Stream carries frames in both directions. One goroutine may send while another one receives.
type Stream interface {
	Send(*Frame) error
	Recv() (*Frame, error)
}

// Handler is the owner's side of the link.
type Handler interface {
	// Serve serves one edge until the stream or ctx ends.
	Serve(ctx context.Context, edge Stream) error
	// Release gives a shard up to the owner of a higher epoch and returns when it is flushed.
	Release(ctx context.Context, shard int32, epoch int64) error
}

// NewServer returns a gRPC server that serves the link. Without credentials it serves in plain text, for tests and
// single processes.
func NewServer(handler Handler, creds credentials.TransportCredentials) *grpc.Server {
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	server := grpc.NewServer(
		grpc.Creds(creds), grpc.ForceServerCodec(codec{}),
		grpc.MaxRecvMsgSize(maxFrame), grpc.MaxSendMsgSize(maxFrame),
		grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(window),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 5 * time.Second, Timeout: 3 * time.Second}),
	)
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "collab.dev.Peer",
		HandlerType: (*Handler)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName: "Link", ServerStreams: true, ClientStreams: true,
			Handler: func(srv any, stream grpc.ServerStream) error {
				return srv.(Handler).Serve(stream.Context(), serverStream{stream})
			},
		}},
		Methods: []grpc.MethodDesc{{
			MethodName: "Release",
			Handler: func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				f := &Frame{}
				if err := decode(f); err != nil {
					return nil, err
				}
				err := srv.(Handler).Release(ctx, int32(f.Channel), int64(f.ID))
				return &Frame{Kind: Released}, err
			},
		}},
	}, handler)
	return server
}

type serverStream struct{ grpc.ServerStream }

func (s serverStream) Send(f *Frame) error { return s.SendMsg(f) }

func (s serverStream) Recv() (*Frame, error) {
	f := &Frame{}
	return f, s.RecvMsg(f)
}

// Joins says whether the other end of a link puts frames together that come in parts. Within a process nothing is
// gained by parts.
func Joins(s Stream) bool {
	server, ok := s.(serverStream)
	if !ok {
		return false
	}
	header, _ := metadata.FromIncomingContext(server.Context())
	return len(header.Get(joins)) > 0
}

// Dialer reaches other pods.
type Dialer struct {
	// Credentials of the link; plain text if nil.
	Credentials credentials.TransportCredentials
	// Dial opens connections; TCP if nil.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

func (d Dialer) connect(address string) (*grpc.ClientConn, error) {
	creds := d.Credentials
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodec(codec{}), grpc.MaxCallRecvMsgSize(maxFrame), grpc.MaxCallSendMsgSize(maxFrame)),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window),
		grpc.WithNoProxy(),
	}
	if d.Dial != nil {
		opts = append(opts, grpc.WithContextDialer(d.Dial))
	}
	// The address is an IP address: no resolver has a say.
	conn, err := grpc.NewClient("passthrough:///"+address, opts...)
	if err != nil {
		return nil, fmt.Errorf("peer %s: %w", address, err)
	}
	return conn, nil
}

// Open opens a link. The stream, and its connection, end with ctx.
func (d Dialer) Open(ctx context.Context, address string) (Stream, error) {
	conn, err := d.connect(address)
	if err != nil {
		return nil, err
	}
	calling := metadata.AppendToOutgoingContext(ctx, joins, "1")
	stream, err := conn.NewStream(calling, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, linkMethod)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("peer %s: %w", address, err), conn.Close())
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	return clientStream{stream, joiner{}}, nil
}

// Release asks a pod to give a shard up to the owner of a higher epoch. It returns when the pod has flushed it.
func (d Dialer) Release(ctx context.Context, address string, shard int32, epoch int64) error {
	conn, err := d.connect(address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	request := &Frame{Kind: Release, Channel: uint32(shard), ID: uint64(epoch)}
	if err := conn.Invoke(ctx, releaseMethod, request, &Frame{}); err != nil {
		return fmt.Errorf("peer %s: %w", address, err)
	}
	return nil
}

type clientStream struct {
	grpc.ClientStream
	joiner joiner
}

func (s clientStream) Send(f *Frame) error { return s.SendMsg(f) }

func (s clientStream) Recv() (*Frame, error) {
	f := &Frame{}
	if err := s.RecvMsg(f); err != nil {
		return nil, err
	}
	return s.joiner.join(f)
}

// Pipe returns the two ends of a link within the process. It ends with ctx.
func Pipe(ctx context.Context) (edge, owner Stream) {
	up, down := make(chan *Frame, 64), make(chan *Frame, 64)
	return pipe{ctx, up, down}, pipe{ctx, down, up}
}

type pipe struct {
	ctx context.Context //nolint:containedctx // Its end is the pipe's end, as with gRPC's streams.
	out chan<- *Frame
	in  <-chan *Frame
}

func (p pipe) Send(f *Frame) error {
	select {
	case p.out <- f:
		return nil
	case <-p.ctx.Done():
		return io.EOF
	}
}

func (p pipe) Recv() (*Frame, error) {
	select {
	case f := <-p.in:
		return f, nil
	case <-p.ctx.Done():
		return nil, io.EOF
	}
}
