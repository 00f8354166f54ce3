%% Runs supervision scenarios on Erlang/OTP's own supervisor and prints what happened, in the words that ours.rs prints for ours.
%%
%%   erl +S 1 -noshell -run oracle main SCENARIOS TRACES
%%
%% One scheduler: a signal sent earlier is then handled earlier, also between different senders. Scenarios run side by side; each has a
%% clock of its own (scripted_supervisor asks it), found through the oldest ancestor of the asking process.
-module(oracle).
-export([main/1, now_s/0, init/1, start_worker/3, start_supervisor/4, log/2]).

-define(TABLE, oracle_table).
-define(SIDE_BY_SIDE, 64).

main([In, Out]) ->
    ets:new(?TABLE, [named_table, public, ordered_set, {write_concurrency, true}]),
    logger:remove_handler(default),
    ok = logger:set_primary_config(level, error),
    ok = logger:add_handler(oracle, ?MODULE, #{}),
    {ok, Scenarios} = file:consult(In),
    {ok, File} = file:open(Out, [write, raw, {delayed_write, 1048576, 1000}]),
    run_all(Scenarios, 0, File),
    ok = file:close(File),
    halt(0).

run_all([], 0, _) -> ok;
run_all([Scenario | Rest], Running, File) when Running < ?SIDE_BY_SIDE ->
    Main = self(),
    spawn_monitor(fun() -> Main ! {done, run(Scenario)} end),
    run_all(Rest, Running + 1, File);
run_all(Scenarios, Running, File) ->
    receive
        {done, Text} ->
            ok = file:write(File, Text),
            run_all(Scenarios, Running - 1, File);
        {'DOWN', _, process, _, normal} ->
            run_all(Scenarios, Running, File);
        {'DOWN', _, process, _, Reason} ->
            io:format(standard_error, "the oracle itself failed: ~p~n", [Reason]),
            halt(1)
    end.

%% ---- one scenario, in its own process

run({scenario, Number, Module, Flags, Children, Steps}) ->
    process_flag(trap_exit, true),
    put(module, Module),
    set(clock, 0),
    Root = case Module:start_link(?MODULE, {self(), [], Module, Flags, Children}) of
        {ok, Pid} -> line(["init ok"]), Pid;
        {error, Reason} -> line(["init ", failure(Reason)]), none
    end,
    settle(),
    steps(Steps, 1, Root),
    [io_lib:format("scenario ~p~n", [Number]) | take_log()].

steps([], _, _) -> ok;
steps(_, _, none) -> ok;
steps([Step | Rest], N, Root) ->
    line(["step ", integer_to_list(N)]),
    step(Step, Root),
    settle(),
    case is_process_alive(Root) of
        true -> steps(Rest, N + 1, Root);
        false -> receive {'EXIT', Root, Reason} -> line(["end ", reason(Reason)]) end
    end.

step({clock, Seconds}, _) ->
    set(clock, get_value(clock, 0) + Seconds);
step({stop, Reason}, Root) ->
    exit(Root, Reason),
    await_end(Root);
step({crash, Path, Reason}, _) ->
    crash(newest(Path), Reason);
step({crash_nth, Path, N, Reason}, _) ->
    crash(nth(Path, N), Reason);
step({call, Path, Request}, _) ->
    case newest(Path) of
        none -> line(["reply 1 nobody"]);
        Sup -> reply(1, call(Sup, Path, Request))
    end;
step({burst, Path, Steps}, _) ->
    case newest(Path) of
        none -> line(["nobody"]);
        Sup ->
            sys:suspend(Sup, infinity),
            Callers = burst(Steps, Sup, Path, 1),
            sys:resume(Sup, infinity),
            lists:foreach(fun({N, Caller}) ->
                receive {answer, Caller, Answer} -> put({answer, N}, Answer) end
            end, Callers),
            settle_supervisors(),
            lists:foreach(fun({N, _}) -> reply(N, get({answer, N})) end, Callers)
    end.

burst([], _, _, _) -> [];
burst([{call, _, Request} | Rest], Sup, Path, N) ->
    Runner = self(),
    %% What a call refers to is looked up now, not when the call is handled.
    Bound = bind(Request, Path),
    Caller = spawn(fun() -> Runner ! {answer, self(), do_call(Sup, Bound)} end),
    %% One scheduler: after some turns the caller's request lies in the supervisor's queue.
    turns(20),
    [{N, Caller} | burst(Rest, Sup, Path, N + 1)];
burst([Step | Rest], Sup, Path, N) ->
    step(Step, Sup),
    burst(Rest, Sup, Path, N).

turns(0) -> ok;
turns(N) -> erlang:yield(), turns(N - 1).

reply(N, Answer) -> line(["reply ", integer_to_list(N), " ", Answer]).

crash(none, _) -> line(["nobody"]);
crash(Pid, killed) ->
    exit(Pid, kill),
    await_end(Pid);
crash(Pid, Reason) ->
    Pid ! {exit, Reason},
    await_end(Pid).

await_end(Pid) ->
    Monitor = monitor(process, Pid),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

call(Sup, Path, Request) -> do_call(Sup, bind(Request, Path)).

bind({terminate_nth, N}, Path) -> {terminate_pid, nth(Path, N)};
bind({start, Child}, Path) -> {start, spec(self(), Path, Child, get(module))};
bind(Request, _) -> Request.

do_call(Sup, Request) ->
    try answer(Request, request(Sup, Request)) catch exit:_ -> "gone" end.

request(Sup, {start, Spec}) -> gen_server:call(Sup, {start_child, Spec}, infinity);
request(Sup, start_instance) -> gen_server:call(Sup, {start_child, []}, infinity);
request(Sup, {terminate, Id}) -> gen_server:call(Sup, {terminate_child, Id}, infinity);
request(_, {terminate_pid, none}) -> nobody;
request(Sup, {terminate_pid, Pid}) -> gen_server:call(Sup, {terminate_child, Pid}, infinity);
request(Sup, {restart, Id}) -> gen_server:call(Sup, {restart_child, Id}, infinity);
request(Sup, {delete, Id}) -> gen_server:call(Sup, {delete_child, Id}, infinity).

answer(_, nobody) -> "nobody";
answer(_, ok) -> "ok";
answer(_, {ok, undefined}) -> "ok ignored";
answer(_, {ok, _}) -> "ok";
answer(_, {error, {already_started, _}}) -> "already_started";
answer(_, {error, {bad_combination, _}}) -> "spec";
answer({start, _}, {error, {What, Child}}) when is_tuple(Child), element(1, Child) =:= child -> ["start ", failure(What)];
answer(_, {error, Known}) when Known =:= not_found; Known =:= running; Known =:= restarting; Known =:= already_present;
                               Known =:= simple_one_for_one -> atom_to_list(Known);
answer(_, {error, What}) -> ["start ", failure(What)].

%% ---- waiting until nothing more happens, and what is then

settle() ->
    State = settle_supervisors(),
    lists:foreach(fun(Line) -> line([" " | Line]) end, State),
    line([" alive", [[" ", Label] || Label <- lists:sort(alive())]]).

settle_supervisors() -> settle_supervisors(none, none).

settle_supervisors(Before, AliveBefore) ->
    turns(5),
    Now = try states([], newest([])) catch exit:_ -> retry end,
    Alive = lists:sort(alive()),
    case Now =/= retry andalso Now =:= Before andalso Alive =:= AliveBefore andalso not has_restarting(Now) of
        true -> Now;
        false -> settle_supervisors(Now, Alive)
    end.

has_restarting(Lines) -> lists:any(fun(Line) -> string:find(Line, "=restarting") =/= nomatch end, Lines).

states(_, none) -> [];
states(Path, Sup) ->
    Children = gen_server:call(Sup, which_children, infinity),
    Counts = gen_server:call(Sup, count_children, infinity),
    Entries = [entry(Path, Id, Pid) || {Id, Pid, _, _} <- Children],
    Sorted = case Children of [{undefined, _, _, _} | _] -> lists:sort(Entries); _ -> Entries end,
    Line = lists:flatten(["state ", label(Path), ":", [[" ", E] || E <- Sorted],
        [[" ", integer_to_list(N)] || {_, N} <- Counts]]),
    Nested = [states(Path ++ [Id], Pid) || {Id, Pid, supervisor, _} <- Children, is_pid(Pid)],
    [Line | lists:append(Nested)].

entry(_, undefined, restarting) -> "?=restarting";
entry(_, undefined, Pid) -> instance(Pid);
entry(_, Id, undefined) -> [atom_to_list(Id), "=stopped"];
entry(_, Id, restarting) -> [atom_to_list(Id), "=restarting"];
entry(_, Id, Pid) when is_pid(Pid) -> [atom_to_list(Id), "=run"].

alive() ->
    Found = ets:select(?TABLE, [{{{self(), process, '$1'}, '$2'}, [], [['$1', '$2']]}]),
    [Label || [Pid, Label] <- Found, is_process_alive(Pid)].

%% ---- processes

now_s() ->
    Runner = lists:last(get('$ancestors')),
    [{_, Now}] = ets:lookup(?TABLE, {Runner, clock}),
    Now.

%% Callback of the supervisors.
init({Runner, Path, Module, {Strategy, Intensity, Period, Auto}, Children}) ->
    put(module, Module),
    ets:insert(?TABLE, {{Runner, newest, Path}, self()}),
    ets:insert(?TABLE, {{supervisor, self()}, {Runner, Path}}),
    {ok, {#{strategy => Strategy, intensity => Intensity, period => Period, auto_shutdown => Auto},
          [spec(Runner, Path, Child, Module) || Child <- Children]}}.

spec(Runner, Path, {worker, Id, Restart, Shutdown, Significant, _, _} = Child, _) ->
    #{id => Id, restart => Restart, shutdown => Shutdown, significant => Significant,
      start => {?MODULE, start_worker, [Runner, Path ++ [Id], Child]}};
spec(Runner, Path, {supervisor, Id, Restart, Shutdown, Significant, Flags, Children}, Module) ->
    #{id => Id, restart => Restart, shutdown => Shutdown, significant => Significant, type => supervisor,
      start => {?MODULE, start_supervisor, [Runner, Path ++ [Id], Module, {Flags, Children}]}}.

start_supervisor(Runner, Path, Module, {Flags, Children}) ->
    Module:start_link(?MODULE, {Runner, Path, Module, Flags, Children}).

%% In the supervisor's process. The script says what the n-th start of a path does; after its end every start succeeds.
start_worker(Runner, Path, {worker, _, _, _, _, Script, Manner}) ->
    N = ets:update_counter(?TABLE, {Runner, starts, Path}, 1, {{Runner, starts, Path}, 0}),
    case N =< length(Script) andalso lists:nth(N, Script) of
        ignore -> log(Runner, ["start ", label(Path), " ignore"]), ignore;
        {error, Reason} -> log(Runner, ["start ", label(Path), " error"]), {error, Reason};
        crash -> log(Runner, ["start ", label(Path), " crash"]), exit(crash);
        _ ->
            Instance = ets:update_counter(?TABLE, {Runner, instances, Path}, 1, {{Runner, instances, Path}, 0}),
            Label = lists:flatten([label(Path), "#", integer_to_list(Instance)]),
            log(Runner, ["start ", Label]),
            Supervisor = self(),
            Pid = spawn_link(fun() ->
                process_flag(trap_exit, Manner =/= untrapped),
                Supervisor ! {ready, self()},
                worker(Runner, Label, Manner)
            end),
            receive {ready, Pid} -> ok end,
            ets:insert(?TABLE, [{{Runner, newest, Path}, Pid}, {{Runner, process, Pid}, Label}, {{label, Pid}, Label},
                                {{Runner, nth, Path, Instance}, Pid}]),
            {ok, Pid}
    end.

worker(Runner, Label, Manner) ->
    receive
        {exit, Reason} -> exit(Reason);
        {'EXIT', _, killed} -> exit(killed);
        {'EXIT', _, _} ->
            log(Runner, ["asked ", Label]),
            case Manner of
                obey -> exit(shutdown);
                {answer, Reason} -> exit(Reason);
                ignore -> worker_for_ever()
            end
    end.

worker_for_ever() -> receive never -> ok end.

newest(Path) ->
    case ets:lookup(?TABLE, {self(), newest, Path}) of
        [{_, Pid}] -> case is_process_alive(Pid) of true -> Pid; false -> none end;
        [] -> none
    end.

%% The n-th living instance of a template, modulo their number.
nth(Path, N) ->
    Found = ets:select(?TABLE, [{{{self(), nth, Path ++ [dynamic], '_'}, '$1'}, [], ['$1']}]),
    case [Pid || Pid <- Found, is_process_alive(Pid)] of
        [] -> none;
        Living -> lists:nth(N rem length(Living) + 1, Living)
    end.

%% ---- the log

%% Logger handler: runs in the process that reports.
log(#{msg := {report, #{label := {supervisor, Kind}, report := Report}}}, _Config) ->
    {supervisor, {Sup, _}} = lists:keyfind(supervisor, 1, Report),
    {reason, Reason} = lists:keyfind(reason, 1, Report),
    {offender, Child} = lists:keyfind(offender, 1, Report),
    case ets:lookup(?TABLE, {supervisor, Sup}) of
        [{_, {Runner, Path}}] -> report(Runner, Path, Kind, Reason, Child);
        [] -> ok
    end;
log(#{msg := _}, _Config) -> ok;
log(Runner, Line) ->
    N = ets:update_counter(?TABLE, {Runner, lines}, 1, {{Runner, lines}, 0}),
    ets:insert(?TABLE, {{Runner, line, N}, Line}),
    ok.

report(Runner, Path, Kind, Reason, Child) ->
    {id, Id} = lists:keyfind(id, 1, Child),
    Name = label(Path ++ [Id]),
    case Kind of
        shutdown -> log(Runner, ["report budget_spent ", Name]);
        start_error -> log(Runner, ["report start_failed ", Name, " ", failure(Reason)]);
        child_terminated ->
            {pid, Pid} = lists:keyfind(pid, 1, Child),
            log(Runner, ["report terminated ", subject(Name, Id, Pid), " ", reason(Reason)]);
        shutdown_error ->
            %% Of alike children that stop together OTP tells only how many ended for this reason.
            Times = case lists:keyfind(nb_children, 1, Child) of {_, N} -> N; false -> 1 end,
            [log(Runner, ["report shutdown_failed ", Name, " ", reason(Reason)]) || _ <- lists:seq(1, Times)]
    end.

subject(_, dynamic, Pid) when is_pid(Pid) -> instance(Pid);
subject(Name, _, _) -> Name.

line(Text) -> log(self(), Text).

take_log() ->
    Lines = ets:select(?TABLE, [{{{self(), line, '_'}, '$1'}, [], ['$1']}]),
    lists:foreach(fun(Name) -> ets:match_delete(?TABLE, {Name, '_'}) end,
        [{self(), line, '_'}, {self(), process, '_'}, {self(), newest, '_'}, {self(), starts, '_'},
         {self(), instances, '_'}, {self(), nth, '_', '_'}]),
    [[Line, "\n"] || Line <- Lines].

set(Key, Value) -> ets:insert(?TABLE, {{self(), Key}, Value}).

get_value(Key, Default) ->
    case ets:lookup(?TABLE, {self(), Key}) of [{_, Value}] -> Value; [] -> Default end.

instance(Pid) ->
    case ets:lookup(?TABLE, {label, Pid}) of [{_, Label}] -> Label; [] -> "?" end.

label([]) -> "root";
label(Path) -> lists:join(".", [atom_to_list(Id) || Id <- Path]).

reason({shutdown, {failed_to_start_child, _, _}} = Reason) -> failure(Reason);
reason({shutdown, Word}) -> ["shutdown: ", atom_to_list(Word)];
reason(Word) when is_atom(Word) -> atom_to_list(Word).

failure({shutdown, {failed_to_start_child, Id, Reason}}) -> ["child `", atom_to_list(Id), "` failed to start: ", failure(Reason)];
failure({failed_to_start_child, Id, Reason}) -> ["child `", atom_to_list(Id), "` failed to start: ", failure(Reason)];
failure({'EXIT', _}) -> "crash";
failure({start_spec, _}) -> "spec";
failure({bad_start_spec, _}) -> "spec";
failure({supervisor_data, _}) -> "spec";
failure(Reason) -> reason(Reason).
