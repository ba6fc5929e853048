/* A program that ignores SIGTERM, as does its child process. It reports a job before. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void notify(const char *text)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int sender = socket(AF_UNIX, SOCK_DGRAM, 0);

    strncpy(address.sun_path, getenv("NOTIFY_SOCKET"), sizeof address.sun_path - 1);
    sendto(sender, text, strlen(text), 0, (struct sockaddr *)&address, sizeof address);
    close(sender);
}

int main(void)
{
    pid_t child;

    signal(SIGTERM, SIG_IGN);
    child = fork();
    if (child == 0)
        for (;;)
            pause();
    printf("%d\n", (int)child);
    fflush(stdout);
    notify("READY=1\nX_BEANWATCH_JOB=image.resize\nX_BEANWATCH_ID=c-7\nX_BEANWATCH_QUEUE=images");
    for (;;)
        pause();
}
