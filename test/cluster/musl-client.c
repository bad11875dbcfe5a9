// A client that is linked with musl, whose resolver and sockets behave otherwise than those of glibc.
//
//   musl-client resolve TIMES NAME...   prints {"NAME": ["ADDRESS", ...], ...}; "again" where one time was a failure
//   musl-client dial ADDRESS PORT       says "hello", and prints {"outcome": "what came, or the error"}
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static const struct addrinfo streams = {.ai_socktype = SOCK_STREAM};

static void print_addresses(const struct addrinfo *list) {
  char text[INET6_ADDRSTRLEN];
  printf("[");
  for (const struct addrinfo *one = list; one; one = one->ai_next) {
    getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST);
    printf("%s\"%s\"", one == list ? "" : ",", text);
  }
  printf("]");
}

static void resolve(const char *name, int times) {
  struct addrinfo *list = NULL;
  int failed = 0;
  for (int index = 0; index < times && !failed; index++) {
    if (list) freeaddrinfo(list);
    list = NULL;
    int code = getaddrinfo(name, NULL, &streams, &list);
    failed = code != 0 && code != EAI_NONAME && code != EAI_NODATA;
  }
  if (failed) printf("\"again\"");
  else print_addresses(list);
}

static const char *dial(const char *address, const char *port) {
  static char answer[101];
  struct addrinfo *to;
  struct timeval wait = {.tv_sec = 5};
  if (getaddrinfo(address, port, &streams, &to) != 0) return "no address";
  int peer = socket(to->ai_family, SOCK_STREAM, 0);
  setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
  setsockopt(peer, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  if (connect(peer, to->ai_addr, to->ai_addrlen) != 0) return strerror(errno);
  if (send(peer, "hello", 5, MSG_NOSIGNAL) < 0 || recv(peer, answer, 100, 0) < 0) return strerror(errno);
  return answer;
}

int main(int count, char **given) {
  if (count > 3 && strcmp(given[1], "resolve") == 0) {
    for (int index = 3; index < count; index++) {
      printf("%s\"%s\":", index == 3 ? "{" : ",", given[index]);
      resolve(given[index], atoi(given[2]));
    }
    puts("}");
  } else if (count == 4 && strcmp(given[1], "dial") == 0) {
    printf("{\"outcome\":\"%s\"}\n", dial(given[2], given[3]));
  } else {
    return 2;
  }
  return 0;
}
