/* The subscriber of the benchmarks: confirms JSON-RPC requests over TCP as fast as one thread sensibly can.
 *
 * All replies to what one read brought go out in one write. Whoever does not take its replies is not read from until it does.
 * The port is printed first; at the end (standard input closed) one JSON object of counters is.
 */
#define _GNU_SOURCE
#include "frames.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char USAGE[] =
    "usage: subscriber [PORT] [options]          PORT 0 (default): any free one; it is printed\n"
    "  --seconds S         stop after S seconds whatever happens (default 600)\n"
    "  --silent-after N    confirm N requests, then read on without a word\n"
    "  --reset-held K      whenever K requests were read in silence, reset all connections\n"
    "  --reset-on-signal   reset all connections on SIGUSR1\n"
    "  --refuse            stop listening at the first reset\n"
    "  --black-hole        let no connect succeed or fail\n";

enum { ROOM = 128 * 1024, LEAST_READ = 32 * 1024, LARGEST = 256 * 1024 * 1024, EVENTS = 512 };

struct buffer {
    struct buffer *next; /* in the list of those at rest */
    size_t capacity, used;
    char bytes[];
};

struct connection {
    struct buffer *in; /* the beginning of a request; NULL while there is none */
    struct scan scan;
    char *out; /* replies that the kernel did not take yet */
    size_t out_at, out_used;
    bool open;
};

static struct connection *connections; /* by file descriptor */
static int known;                      /* how many of them there are */
static struct buffer *resting;
static char *replies; /* to what one read brought */
static size_t replies_capacity;
static int poller, listener = -1;

static uint64_t silent_after = UINT64_MAX, reset_held;
static bool refuse;
static uint64_t accepted, requests, notifications, replied, held, resets;

static _Noreturn void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void *checked(void *memory)
{
    if (!memory)
        fail("memory");
    return memory;
}

static struct buffer *take_buffer(void)
{
    struct buffer *buffer = resting;
    if (buffer) {
        resting = buffer->next;
    } else {
        buffer = checked(malloc(sizeof *buffer + ROOM + PADDING));
        buffer->capacity = ROOM;
    }
    buffer->used = 0;
    return buffer;
}

static void rest_buffer(struct buffer *buffer)
{
    if (buffer->capacity > ROOM) { /* grown for one large request */
        free(buffer);
        return;
    }
    buffer->next = resting;
    resting = buffer;
}

static void watch(int fd, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(poller, operation, fd, &event) < 0)
        fail("epoll_ctl");
}

static void end_connection(int fd)
{
    struct connection *connection = &connections[fd];
    if (connection->in)
        rest_buffer(connection->in);
    free(connection->out);
    *connection = (struct connection){0};
    close(fd);
}

static void reset_all(void)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    struct timespec now;
    if (refuse && listener >= 0) {
        close(listener);
        listener = -1;
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    for (int fd = 0; fd < known; fd++) {
        if (!connections[fd].open)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
        end_connection(fd);
    }
    resets++;
    held = 0;
    printf("reset %lld\n", (long long)now.tv_sec * 1000000000 + now.tv_nsec);
    fflush(stdout);
}

static void accept_all(void)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), yes = 1;
        if (fd < 0) {
            if (errno == EAGAIN || errno == ECONNABORTED)
                return;
            fail("accept");
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        if (fd >= known) {
            int more = fd + 1 > 2 * known ? fd + 64 : 2 * known;
            connections = checked(realloc(connections, (size_t)more * sizeof *connections));
            memset(connections + known, 0, (size_t)(more - known) * sizeof *connections);
            known = more;
        }
        connections[fd].open = true;
        accepted++;
        watch(fd, EPOLL_CTL_ADD, EPOLLIN);
    }
}

/* Adds the reply to a complete request; a notification has none. */
static size_t reply(const char *request, const struct scan *scan, size_t used)
{
    static const char begin[] = "{\"jsonrpc\":\"2.0\",\"result\":\"OK\",\"id\":";
    size_t length = 0;
    const char *id = scan->id ? value_behind(request, scan->id, &length) : NULL;
    if (!id || *id == 'n') {
        notifications++;
        return used;
    }
    requests++;
    if (replied >= silent_after) {
        held++;
        return used;
    }
    replied++;
    if (used + length + sizeof begin > replies_capacity) {
        replies_capacity = 2 * replies_capacity + length + sizeof begin;
        replies = checked(realloc(replies, replies_capacity));
    }
    memcpy(replies + used, begin, sizeof begin - 1);
    used += sizeof begin - 1;
    memcpy(replies + used, id, length);
    used += length;
    replies[used++] = '}';
    return used;
}

static void read_some(int fd)
{
    struct connection *connection = &connections[fd];
    struct buffer *in = connection->in ? connection->in : take_buffer();
    if (in->capacity - in->used < LEAST_READ) {
        in->capacity *= 2;
        in = checked(realloc(in, sizeof *in + in->capacity + PADDING));
    }
    connection->in = in;
    ssize_t got = read(fd, in->bytes + in->used, in->capacity - in->used);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            end_connection(fd);
        return;
    }
    in->used += (size_t)got;

    size_t start = 0, used = 0;
    enum scanned scanned = PARTIAL;
    while (start < in->used) {
        if (!connection->scan.at && is_space(in->bytes[start])) {
            start++;
            continue;
        }
        scanned = scan_object(&connection->scan, in->bytes + start, in->used - start);
        if (scanned != COMPLETE)
            break;
        used = reply(in->bytes + start, &connection->scan, used);
        start += connection->scan.at;
        connection->scan = (struct scan){0};
    }
    if (scanned == BROKEN || in->used - start > LARGEST) {
        end_connection(fd);
        return;
    }
    if (start == in->used) {
        rest_buffer(in);
        connection->in = NULL;
    } else if (start) {
        in->used -= start;
        memmove(in->bytes, in->bytes + start, in->used);
    }
    if (reset_held && held >= reset_held) {
        reset_all();
        return;
    }
    if (!used)
        return;
    ssize_t sent = write(fd, replies, used);
    if (sent < 0 && errno != EAGAIN) {
        end_connection(fd);
    } else if ((size_t)(sent < 0 ? 0 : sent) < used) {
        size_t from = sent < 0 ? 0 : (size_t)sent;
        connection->out = checked(malloc(used - from));
        memcpy(connection->out, replies + from, used - from);
        connection->out_used = used - from;
        watch(fd, EPOLL_CTL_MOD, EPOLLOUT);
    }
}

static void write_rest(int fd)
{
    struct connection *connection = &connections[fd];
    ssize_t sent = write(fd, connection->out + connection->out_at, connection->out_used - connection->out_at);
    if (sent < 0) {
        if (errno != EAGAIN)
            end_connection(fd);
        return;
    }
    connection->out_at += (size_t)sent;
    if (connection->out_at < connection->out_used)
        return;
    free(connection->out);
    connection->out = NULL;
    connection->out_at = connection->out_used = 0;
    watch(fd, EPOLL_CTL_MOD, EPOLLIN);
}

/* Fills the queue of connects that nobody accepts: the kernel then drops every further SYN, as a host behind a firewall would. */
static void fill_backlog(const struct sockaddr_in *address)
{
    for (int waiting = 0, tries = 0; !waiting && tries < 64; tries++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
            fail("socket");
        if (connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 && errno != EINPROGRESS)
            fail("connect");
        struct timespec moment = {.tv_nsec = 20000000};
        nanosleep(&moment, NULL);
        int error = 0;
        socklen_t length = sizeof error;
        struct sockaddr_in peer;
        socklen_t peer_length = sizeof peer;
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
        waiting = !error && getpeername(fd, (struct sockaddr *)&peer, &peer_length) < 0;
    }
}

static void open_listener(int port, bool black_hole)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t length = sizeof address;
    int yes = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0)
        fail("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, length) < 0)
        fail("bind");
    if (listen(listener, black_hole ? 0 : 4096) < 0)
        fail("listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    if (black_hole)
        fill_backlog(&address);
    else
        watch(listener, EPOLL_CTL_ADD, EPOLLIN);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
}

static void report(void)
{
    printf("{\"connections\":%llu,\"requests\":%llu,\"notifications\":%llu,\"replied\":%llu,\"resets\":%llu}\n",
           (unsigned long long)accepted, (unsigned long long)requests, (unsigned long long)notifications,
           (unsigned long long)replied, (unsigned long long)resets);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seconds", required_argument, NULL, 's'},    {"silent-after", required_argument, NULL, 'n'},
        {"reset-held", required_argument, NULL, 'k'}, {"reset-on-signal", no_argument, NULL, 'u'},
        {"refuse", no_argument, NULL, 'r'},           {"black-hole", no_argument, NULL, 'b'},
        {NULL, 0, NULL, 0},
    };
    unsigned seconds = 600;
    int signals = -1;
    bool black_hole = false, reset_on_signal = false;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 's': seconds = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'n': silent_after = strtoull(optarg, NULL, 10); break;
        case 'k': reset_held = strtoull(optarg, NULL, 10); break;
        case 'u': reset_on_signal = true; break;
        case 'r': refuse = true; break;
        case 'b': black_hole = true; break;
        default: fputs(USAGE, stderr); return 2;
        }
    }
    if (argc - optind > 1 || seconds == 0) {
        fputs(USAGE, stderr);
        return 2;
    }
    alarm(seconds);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0)
        fail("epoll");
    struct epoll_event input = {.events = EPOLLIN, .data.fd = STDIN_FILENO};
    epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &input); /* refused for /dev/null: then only --seconds ends it */
    if (reset_on_signal) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        sigprocmask(SIG_BLOCK, &set, NULL);
        signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
        if (signals < 0)
            fail("signalfd");
        watch(signals, EPOLL_CTL_ADD, EPOLLIN);
    }
    open_listener(optind < argc ? atoi(argv[optind]) : 0, black_hole);

    static struct epoll_event events[EVENTS];
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        if (ready < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd < known && connections[fd].open) {
                if (events[i].events & EPOLLOUT)
                    write_rest(fd);
                else
                    read_some(fd);
            } else if (fd == listener) {
                accept_all();
            } else if (fd == signals) {
                struct signalfd_siginfo information;
                if (read(signals, &information, sizeof information) > 0)
                    reset_all();
            } else if (fd == STDIN_FILENO) {
                char byte[64];
                if (read(STDIN_FILENO, byte, sizeof byte) <= 0) {
                    report();
                    return 0;
                }
            }
        }
    }
}
