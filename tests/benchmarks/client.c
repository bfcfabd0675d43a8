/* What everything is measured against: a JSON-RPC client over one TCP connection, in C with epoll.
 *
 * It does what a client must: an id of its own for each request, replies matched by id in whatever order, errors told from results, the time of each kept.
 * What is due at once goes out in one write. Closed loop: --window requests are in flight all the time. Open loop (--rate): requests
 * leave on a schedule whatever the replies do, and their latency counts from the scheduled moment, so a stall is not hidden.
 */
#define _GNU_SOURCE
#include "frames.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static const char USAGE[] =
    "usage: client PORT [options]\n"
    "  --window W     requests in flight (default 64)\n"
    "  --rate R       instead of a window: R requests per second, on schedule\n"
    "  --events N     stop after N replies (default: no limit)\n"
    "  --seconds S    stop after S seconds (default 1)\n"
    "  --warmup S     leave the first S seconds out of the figures (default 0.1; 0 with --events)\n"
    "  --size B       bytes of params (default 64)\n"
    "  --print        print one request with the id 1 and stop\n";

enum { ROOM = 256 * 1024, LARGEST = 1 << 20, TABLE = 1 << 18, PATIENCE_MS = 5000 };

struct pending {
    uint32_t id; /* 0: free */
    int64_t since;
};

static struct pending table[TABLE];
static uint32_t next_id, in_flight;
static char *tail, *out;
static size_t tail_length, out_capacity, out_at, out_used;
static uint32_t *latencies;
static size_t latencies_capacity, measured;
static uint64_t sent, answered, errors, unknown;
static int64_t measure_from;

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

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* All of a request behind its id; its params are exactly `size` bytes of JSON. Python's twin is request_params in payload.py. */
static void prepare(size_t size)
{
    static const char begin[] = ",\"jsonrpc\":\"2.0\",\"method\":\"E_ACC_CDR\",\"params\":{\"callid\":\"", end[] = "\",\"duration\":35}";
    static const char callid[] = "a84b4c76e66710@pc33.atlanta.example.com/";
    size_t around = sizeof "{\"callid\":\"" - 1 + sizeof end - 1;
    size_t padding = size > around ? size - around : 1;
    tail_length = sizeof begin - 1 + padding + sizeof end - 1 + 1;
    tail = checked(malloc(tail_length));
    memcpy(tail, begin, sizeof begin - 1);
    for (size_t i = 0; i < padding; i++)
        tail[sizeof begin - 1 + i] = callid[i % (sizeof callid - 1)];
    memcpy(tail + sizeof begin - 1 + padding, end, sizeof end - 1);
    tail[tail_length - 1] = '}';
}

static void add_request(int64_t since)
{
    struct pending *slot;
    do { /* a reply may be long overdue and its slot still taken */
        next_id = next_id == INT32_MAX ? 1 : next_id + 1;
        slot = &table[next_id % TABLE];
    } while (slot->id);
    slot->id = next_id;
    slot->since = since;
    in_flight++;
    sent++;

    size_t need = out_used + tail_length + 32;
    if (need > out_capacity) {
        out_capacity = 2 * need;
        out = checked(realloc(out, out_capacity));
    }
    char *to = out + out_used, digits[10];
    int count = 0;
    memcpy(to, "{\"id\":", 6);
    to += 6;
    for (uint32_t rest = next_id; rest; rest /= 10)
        digits[count++] = (char)('0' + rest % 10);
    while (count)
        *to++ = digits[--count];
    memcpy(to, tail, tail_length);
    out_used = (size_t)(to + tail_length - out);
}

/* Writes what is due; true if the kernel took all of it. */
static bool flush(int fd)
{
    while (out_at < out_used) {
        ssize_t took = write(fd, out + out_at, out_used - out_at);
        if (took < 0) {
            if (errno == EAGAIN)
                return false;
            fail("write");
        }
        out_at += (size_t)took;
    }
    out_at = out_used = 0;
    return true;
}

static void settle(const char *text, const struct scan *scan, int64_t now)
{
    uint32_t id = 0;
    size_t length = 0;
    const char *digits = scan->id ? value_behind(text, scan->id, &length) : "";
    if (length <= 10)
        for (size_t i = 0; i < length && digits[i] >= '0' && digits[i] <= '9'; i++)
            id = id * 10 + (uint32_t)(digits[i] - '0');
    struct pending *slot = &table[id % TABLE];
    if (!id || slot->id != id) {
        unknown++;
        return;
    }
    slot->id = 0;
    in_flight--;
    answered++;
    if (scan->error && *value_behind(text, scan->error, &length) != 'n')
        errors++;
    if (now < measure_from)
        return;
    if (measured == latencies_capacity) {
        latencies_capacity = latencies_capacity ? 2 * latencies_capacity : 1 << 20;
        latencies = checked(realloc(latencies, latencies_capacity * sizeof *latencies));
    }
    int64_t took = now - slot->since;
    latencies[measured++] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
}

/* Reads once and settles what it brought; returns the moment of the read. */
static int64_t receive(int fd)
{
    static char text[ROOM + PADDING];
    static size_t used;
    static struct scan scan;
    ssize_t got = read(fd, text + used, ROOM - used);
    int64_t now = now_ns();
    if (got < 0 && errno == EAGAIN)
        return now;
    if (got <= 0)
        fail("the subscriber closed the connection");
    used += (size_t)got;
    size_t start = 0;
    while (start < used) {
        if (!scan.at && is_space(text[start])) {
            start++;
            continue;
        }
        enum scanned scanned = scan_object(&scan, text + start, used - start);
        if (scanned == BROKEN) {
            fputs("the subscriber sent something that is no JSON object\n", stderr);
            exit(1);
        }
        if (scanned == PARTIAL)
            break;
        settle(text + start, &scan, now);
        start += scan.at;
        scan = (struct scan){0};
    }
    used -= start;
    if (used == ROOM) {
        fputs("a reply is larger than this client takes\n", stderr);
        exit(1);
    }
    memmove(text, text + start, used);
    return now;
}

static int connect_to(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static int ascending(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static double quantile_us(double share)
{
    return measured ? latencies[(size_t)(share * (double)(measured - 1))] / 1e3 : 0;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"window", required_argument, NULL, 'w'},  {"rate", required_argument, NULL, 'r'},
        {"events", required_argument, NULL, 'n'},  {"seconds", required_argument, NULL, 's'},
        {"warmup", required_argument, NULL, 'u'},  {"size", required_argument, NULL, 'b'},
        {"print", no_argument, NULL, 'p'},         {NULL, 0, NULL, 0},
    };
    uint32_t window = 64;
    uint64_t limit = UINT64_MAX;
    size_t size = 64;
    double rate = 0, seconds = 1, warmup = -1;
    bool print = false;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'w': window = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'r': rate = strtod(optarg, NULL); break;
        case 'n': limit = strtoull(optarg, NULL, 10); break;
        case 's': seconds = strtod(optarg, NULL); break;
        case 'u': warmup = strtod(optarg, NULL); break;
        case 'b': size = strtoul(optarg, NULL, 10); break;
        case 'p': print = true; break;
        default: fputs(USAGE, stderr); return 2;
        }
    }
    prepare(size);
    if (print) {
        add_request(0);
        fwrite(out, 1, out_used, stdout);
        return 0;
    }
    if (optind != argc - 1 || !window || window > TABLE / 2 || rate < 0) {
        fputs(USAGE, stderr);
        return 2;
    }
    if (warmup < 0)
        warmup = limit == UINT64_MAX ? 0.1 : 0;
    signal(SIGPIPE, SIG_IGN);
    int fd = connect_to(atoi(argv[optind])), poller = epoll_create1(EPOLL_CLOEXEC), timer = -1;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll");

    int64_t start = now_ns(), now = start, last = start, stop = start + (int64_t)((warmup + seconds) * 1e9);
    double cpu = -1;
    uint64_t scheduled = 0;
    measure_from = start + (int64_t)(warmup * 1e9);
    next_id = (uint32_t)(start & 0x3fffffff);
    if (rate > 0) {
        struct itimerspec first = {.it_value.tv_nsec = 1, .it_interval.tv_nsec = (long)(1e9 / rate)};
        timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        if (rate <= 1 || timer < 0 || timerfd_settime(timer, 0, &first, NULL) < 0)
            fail("timer");
        event.data.fd = timer;
        epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event);
    }
    for (bool blocked = false;;) {
        bool going = now < stop && answered < limit;
        if (going && rate > 0) {
            for (int64_t due; (due = start + (int64_t)((double)scheduled * 1e9 / rate)) <= now && in_flight < TABLE / 2; scheduled++)
                add_request(due);
        } else if (going) {
            uint64_t left = limit - sent;
            while (in_flight < window && left--)
                add_request(now);
        } else if (!in_flight) {
            break;
        }
        if (cpu < 0 && now >= measure_from)
            cpu = cpu_seconds();
        if (flush(fd) == blocked) {
            blocked = !blocked;
            event.events = blocked ? EPOLLIN | EPOLLOUT : EPOLLIN;
            event.data.fd = fd;
            epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event);
        }
        struct epoll_event ready[2];
        int count = epoll_wait(poller, ready, 2, PATIENCE_MS);
        if (count == 0)
            break; /* what is still in flight counts as lost */
        for (int i = 0; i < count; i++) {
            if (ready[i].data.fd == timer) {
                uint64_t ticks;
                if (read(timer, &ticks, sizeof ticks) > 0)
                    now = now_ns();
            } else if (ready[i].events & ~(uint32_t)EPOLLOUT) {
                now = receive(fd);
                if (now <= stop)
                    last = now;
            }
        }
        if (now > stop && measure_from < stop) { /* what is drained now is neither counted nor lost */
            measure_from = INT64_MAX;
            cpu = cpu_seconds() - cpu;
        }
    }
    if (measure_from != INT64_MAX)
        cpu = cpu_seconds() - cpu;
    double span = (double)(last - start) / 1e9 - warmup;
    qsort(latencies, measured, sizeof *latencies, ascending);
    printf("{\"client\":\"c\",\"window\":%u,\"rate\":%g,\"size\":%zu,\"events\":%zu,\"seconds\":%.6f,\"events_per_second\":%.1f,"
           "\"p50_us\":%.2f,\"p99_us\":%.2f,\"p999_us\":%.2f,\"cpu_us_per_event\":%.3f,"
           "\"sent\":%llu,\"answered\":%llu,\"errors\":%llu,\"unknown\":%llu,\"lost\":%u}\n",
           rate > 0 ? 0 : window, rate, size, measured, span, span > 0 ? (double)measured / span : 0,
           quantile_us(.5), quantile_us(.99), quantile_us(.999), measured ? cpu * 1e6 / (double)measured : 0,
           (unsigned long long)sent, (unsigned long long)answered, (unsigned long long)errors, (unsigned long long)unknown, in_flight);
    return in_flight || errors || unknown ? 1 : 0;
}
