/* `c4py run`: one program on a private daemon. */
#ifndef C4P_CLIENT_CLI_RUN_H
#define C4P_CLIENT_CLI_RUN_H

/* `arguments` is what follows "run", ended by NULL. Returns the exit code of the process. */
int run_main(char *const *arguments);

#endif
