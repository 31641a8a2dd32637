/* The subcommands. Each takes its own argc and argv, argv[0] being its name, and returns the exit
 * status. */
#ifndef GPA_COMMANDS_H
#define GPA_COMMANDS_H

int command_solve(int argc, char **argv);
int command_explain(int argc, char **argv);
int command_fit(int argc, char **argv);
int command_flow(int argc, char **argv);
int command_points(int argc, char **argv);
int command_presets(int argc, char **argv);
int command_simulate(int argc, char **argv);
int command_sweep(int argc, char **argv);
int command_summary(int argc, char **argv);
int command_tune(int argc, char **argv);

#endif
