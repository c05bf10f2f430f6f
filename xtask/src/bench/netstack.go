// A gateway of wireguard-go and gVisor's TCP on sockets alone, as the programs have it that stand on wireguard-go's
// netstack form: one packet a call between the two, a forwarder that dials what the peer dials, and copies both ways.
//
// Reads its configuration in UAPI text from standard input, says "ready", and runs until it is killed.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const mtu = 1420

// link is what wireguard-go takes for a TUN device: behind it is gVisor.
type link struct {
	endpoint *channel.Endpoint
	context  context.Context
	cancel   context.CancelFunc
	events   chan tun.Event
}

func (l *link) Read(buffers [][]byte, sizes []int, offset int) (int, error) {
	packet := l.endpoint.ReadContext(l.context)
	if packet == nil {
		return 0, os.ErrClosed
	}
	defer packet.DecRef()
	view := packet.ToView()
	defer view.Release()
	sizes[0] = copy(buffers[0][offset:], view.AsSlice())
	return 1, nil
}

func (l *link) Write(buffers [][]byte, offset int) (int, error) {
	for _, packet := range buffers {
		packet = packet[offset:]
		if len(packet) == 0 || packet[0]>>4 != 4 {
			continue
		}
		inside := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(packet)})
		l.endpoint.InjectInbound(header.IPv4ProtocolNumber, inside)
		inside.DecRef()
	}
	return len(buffers), nil
}

func (l *link) File() *os.File           { return nil }
func (l *link) MTU() (int, error)        { return mtu, nil }
func (l *link) Name() (string, error)    { return "netstack", nil }
func (l *link) Events() <-chan tun.Event { return l.events }
func (l *link) BatchSize() int           { return 1 }
func (l *link) Close() error {
	l.cancel()
	close(l.events)
	return nil
}

// must ends the program if a step of the setup failed.
func must(step string, failed bool, why any) {
	if failed {
		fmt.Fprintln(os.Stderr, step+":", why)
		os.Exit(1)
	}
}

// forward connects a flow of the peer's with the server that it dials.
func forward(request *tcp.ForwarderRequest) {
	id := request.ID()
	server := net.JoinHostPort(id.LocalAddress.String(), strconv.Itoa(int(id.LocalPort)))
	outside, err := net.DialTimeout("tcp", server, 10*time.Second)
	if err != nil {
		request.Complete(true)
		return
	}
	var queue waiter.Queue
	endpoint, failed := request.CreateEndpoint(&queue)
	request.Complete(failed != nil)
	if failed != nil {
		outside.Close()
		return
	}
	inside := gonet.NewTCPConn(&queue, endpoint)
	sent := make(chan struct{})
	go func() {
		io.Copy(outside, inside)
		outside.(*net.TCPConn).CloseWrite()
		close(sent)
	}()
	io.Copy(inside, outside)
	inside.CloseWrite()
	<-sent
	inside.Close()
	outside.Close()
}

func main() {
	network := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, icmp.NewProtocol4},
		HandleLocal:        false,
	})
	sack := tcpip.TCPSACKEnabled(true)
	failed := network.SetTransportProtocolOption(tcp.ProtocolNumber, &sack)
	must("SACK", failed != nil, failed)
	wire := &link{endpoint: channel.New(1024, mtu, ""), events: make(chan tun.Event, 1)}
	wire.context, wire.cancel = context.WithCancel(context.Background())
	failed = network.CreateNIC(1, wire.endpoint)
	must("interface", failed != nil, failed)
	// It is every host that the peer may dial.
	failed = network.SetPromiscuousMode(1, true)
	must("promiscuous mode", failed != nil, failed)
	failed = network.SetSpoofing(1, true)
	must("spoofing", failed != nil, failed)
	network.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}})
	forwarder := tcp.NewForwarder(network, 0, 4096, func(request *tcp.ForwarderRequest) { go forward(request) })
	network.SetTransportProtocolHandler(tcp.ProtocolNumber, forwarder.HandlePacket)

	gateway := device.NewDevice(wire, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, ""))
	configuration, err := io.ReadAll(os.Stdin)
	must("configuration", err != nil, err)
	err = gateway.IpcSet(string(configuration))
	must("configuration", err != nil, err)
	err = gateway.Up()
	must("device", err != nil, err)
	fmt.Println("ready")
	<-wire.context.Done()
}
